"""The place in the line, renewed in the status message of a request that waits.

Under the conversation's lease: no run can begin before the edit is through, so it never covers what a run shows.
"""

from functools import partial

from bot.core.outbound import Status
from bot.core.ports import InLine, Services
from bot.flows.identity import bots_token
from bot.flows.report import Reporter, quiet_minutes
from bot.flows.runlog import ConversationLog
from bot.flows.tenure import under_lease
from bot.flows.work import to_answer


async def show(services: Services, waiting: InLine, ahead: int) -> bool:
    """Show how many are ahead of it. False when that is not ours to say, because a run has come. Raises ProviderError, Refused."""
    conversation_id, busy_for = waiting.conversation_id, 0.0
    try:
        busy_for = await under_lease(services, conversation_id, "position", partial(_edit, services, waiting, ahead))
    finally:
        if not busy_for:  # a run that met our lease waits for its end
            await services.bus.run(conversation_id, waiting.seq, hurry=True)
    return not busy_for


async def _edit(services: Services, waiting: InLine, ahead: int, holder: str) -> None:
    log = await ConversationLog.open(services.log, waiting.conversation_id, holder)
    if log.state.running() or waiting.seq not in (request.seq for request in to_answer(log.state)):
        return
    request = log.state.requests[waiting.seq]
    token = await bots_token(services, request.trigger.thread)
    if token and (log.state.topics.get(f"status:{request.seq}") or not log.state.comes_behind(request)):
        integration = services.integrations[request.trigger.thread.service]
        status = Status("queued", ahead=ahead, quiet_minutes=quiet_minutes(waiting.since, services.clock()))
        await Reporter(log, integration, token, services.clock).show(request, status)
