"""The front desk: admits a request or says why not, acknowledges it at once, and answers what needs no agent."""

import asyncio
import logging

from bot.core.conversation import RequestState, State
from bot.core.errors import NeedsAccount, ProviderError, Refused, Unclear, UserError
from bot.core.events import Admitted, Closed, Draft, Located, Waiting
from bot.core.inbound import Repository, Trigger
from bot.core.outbound import Say, Status
from bot.core.patience import patiently
from bot.core.ports import Named, Services
from bot.flows.ahead import BoxesAhead
from bot.flows.identity import Grant, Token, admit, bots_token
from bot.flows.rates import over_limit
from bot.flows.report import TROUBLE, Reporter, standing, stop_outcome
from bot.flows.runlog import ConversationLog
from bot.flows.whereabouts import known, locate

logger = logging.getLogger(__name__)

_ON_ITS_WAY = 1.0
"""Seconds after which an admitted request without a run waits for one."""
_SAID_AGAIN = 60
"""Seconds in which what was refused is said again to a `retry` once at most, lest two machines talk without end."""

_STOPPED = "What you answer was stopped meanwhile, so I begin nothing. Write `retry`, or say what to do instead."

HELP = """\
Tell me what to do in your own words, or use one of these after my name:

- `stop` ends what I am doing here
- `status` says how far I am
- `retry` starts the last request again
- `plan` makes a plan and changes nothing; `approve` carries it out
- `help` shows this

Options: `model=NAME`, `branch=NAME`, `repo=OWNER/NAME`, `budget=DOLLARS`."""


async def acknowledge(services: Services, conversation_id: str, seq: int, boxes: BoxesAhead | None = None) -> None:
    """Take one request from asked to admitted (then a run is rung for), waiting or closed. Doing it twice is harmless.

    `boxes` is told of a conversation whose run will want one. Admitted is written last: a desk that is cut off before it is
    simply asked again. Raises ProviderError.
    """
    log = await ConversationLog.open(services.log, conversation_id)
    request = log.state.requests[seq]
    if request.phase == "closed":
        return
    if request.phase != "admitted":
        wants_box = request.needs_run and log.state.box is None and not log.state.open("admitted")
        person = f"{request.trigger.actor.key} {request.trigger.thread.place}"
        if boxes and wants_box:
            boxes.expect(conversation_id, person)
        grant = await _examine(services, log, request)
        if grant is None:
            return
        if boxes and wants_box:
            boxes.admit(conversation_id, person)
        await _welcome(services, log, request, grant)
    if request.needs_run or request.trigger.request.verb == "stop":
        await services.bus.run(conversation_id, seq)


async def _examine(services: Services, log: ConversationLog, request: RequestState) -> Grant | None:
    """Return the leave to act on a request; None where the person has been answered instead. Raises ProviderError."""
    if too_many := await over_limit(services, log.conversation_id, request):
        topic = too_many.topic_in(log.state.topics, services.clock())
        await _decline(services, log, request, too_many, topic)
        return None
    await _greet(services, log, request)
    try:
        repository = await _where(services, log, request)
        grant = await _leave_for(services, log, request, repository)
        if repository and request.needs_run:
            if log.state.answers_too_late(request, repository):
                await _decline(services, log, request, Refused("stopped", _STOPPED), f"stopped:{request.seq}")
                return None
            await _settle(services, log, request, repository)
        return grant
    except Unclear as question:
        await _ask(services, log, request, question)
    except NeedsAccount:
        pass  # it waits
    except UserError as error:
        await _decline(services, log, request, error)
    except ProviderError as error:
        if error.may_pass:
            raise
        trouble = UserError(f"provider_{error.word}", TROUBLE[error.word])
        each_time = f"{trouble.word}:{request.seq}"  # because it tells people to write `retry`
        await _decline(services, log, request, trouble, each_time)
    return None


async def _leave_for(
    services: Services, log: ConversationLog, request: RequestState, repository: Repository | None
) -> Grant:
    """Return the leave to act on a request. One whose account has to be connected is told so, and waits.

    Raises NeedsAccount (it waits now), Refused, ProviderError.
    """
    try:
        return await patiently(lambda: admit(services, request.trigger, repository))
    except NeedsAccount as stranger:
        await _decline(services, log, request, stranger)
    return await patiently(lambda: admit(services, request.trigger, repository))  # it may have been connected meanwhile


async def answer_late_ones(services: Services, log: ConversationLog) -> None:
    """Answer each `stop`, and end each answer to our question, whose run had ended by the time that it was admitted.

    To be called under the lease.
    """
    for request in log.state.open("waiting"):
        if request.needs_run and (stop := log.state.stopped_by(request)):
            await _close_question(services, log, request, stop)
    for request in log.state.open("admitted"):
        if log.state.was_carried(request):
            await log.append(Draft(Closed(requests=[request.seq], ending="finished")))
        elif not request.needs_run and not log.state.comes_behind(request):  # else that one's run answers both
            if token := await bots_token(services, request.trigger.thread):
                reply = _reply(request, f"reply:{request.seq}", _idle(log.state))
                await _reporter(services, log, request, token).say(reply, request.at)
            await log.append(Draft(Closed(requests=[request.seq], ending="finished")))


async def _close_question(services: Services, log: ConversationLog, request: RequestState, stop: RequestState) -> None:
    """End a request that waits for its person, and with it the `stop` that somebody wrote meanwhile."""
    if token := await bots_token(services, request.trigger.thread):
        await _reporter(services, log, request, token).show(request, Status("ended", outcome=stop_outcome(stop)))
    await log.append(Draft(Closed(requests=[request.seq, stop.seq], ending="stopped")))


async def _greet(services: Services, log: ConversationLog, request: RequestState) -> None:
    """Give a first sign in a session, which people see as dead after ten seconds, before anybody else is asked anything."""
    if request.trigger.origin.kind != "session" or not request.needs_run:
        return
    if token := await bots_token(services, request.trigger.thread):
        await _reporter(services, log, request, token).react(request)


async def _where(services: Services, log: ConversationLog, request: RequestState) -> Repository | None:
    """Return where the code lives. None only for a verb that needs no code.

    Raises Unclear for somebody who may ask, NeedsAccount (it waits now), Refused, ProviderError.
    """
    if not request.needs_run:
        return known(log.state, request.trigger)
    try:
        return await patiently(lambda: locate(services, log.state, request.trigger))
    except Unclear:  # the question names repositories
        await _leave_for(services, log, request, None)
        raise


async def _settle(services: Services, log: ConversationLog, request: RequestState, repository: Repository) -> None:
    """Note where the code lives, where the thread does not say it, and go on with those that waited to know it.

    Only who may have work done there says so: the thread stays with it for good. Raises ProviderError.
    """
    await log.refresh()  # somebody else may have said it meanwhile
    thread = request.trigger.thread
    at_home = (repository.service, repository.name) == (thread.service, thread.place)
    if not at_home and log.state.repository is None:
        await log.append(Draft(Located(repository=repository)))
    for waiting in log.state.open("waiting") if request.waits_for != "repository" else ():
        if waiting.waits_for == "repository":  # before this one is admitted: a desk that is cut off here is asked again
            await acknowledge(services, log.conversation_id, waiting.seq)
            await log.refresh()  # what that one shows now speaks for this one as well


async def _ask(services: Services, log: ConversationLog, request: RequestState, question: Unclear) -> None:
    """Ask once which repository is meant, in the request's own message, and let the request wait for the answer."""
    if request.waits_for != "repository" and (token := await bots_token(services, request.trigger.thread)):
        status = Status("asking", question=question.text, choices=question.choices)
        await _reporter(services, log, request, token).show(request, status)
    await log.append(Draft(Waiting(request=request.seq)))


async def _welcome(services: Services, log: ConversationLog, request: RequestState, grant: Grant) -> None:
    reporter = _reporter(services, log, request, grant.token)
    reacting = asyncio.create_task(reporter.react(request))  # beside the message: neither needs the other
    try:
        answered = False
        if not request.needs_run:
            answered = await _answer(reporter, log.state, request)
        elif not _under_way(log.state, request) and not log.state.was_carried(request):
            await reporter.show(request, Status("queued", ahead=await _ahead(services) or None))
        name = await _name(services, request, grant.token)
    finally:
        await reacting
    if request.phase in ("admitted", "closed"):
        return  # another desk was quicker, while this one slept
    admitted = Admitted(request=request.seq, user=grant.user.id, token=grant.token_class, name=name)
    drafts = [Draft(admitted)]
    if answered:
        drafts.append(Draft(Closed(requests=[request.seq], ending="finished")))
    await log.append(*drafts)


async def _name(services: Services, request: RequestState, token: Token) -> str:
    integration, actor = services.integrations[request.trigger.thread.service], request.trigger.actor
    return await integration.called(actor, await token()) if isinstance(integration, Named) else ""


async def _answer(reporter: Reporter, state: State, request: RequestState) -> bool:
    """Answer a verb that needs no run. False for a `stop` that a run has to carry out."""
    verb = request.trigger.request.verb
    waits = any(r.needs_run and r.seq < request.seq for r in state.open("waiting"))
    if verb == "stop" and (waits or any(r.needs_run for r in state.open("admitted")) or state.comes_behind(request)):
        return False
    topic = f"reply:{request.seq}"
    if verb == "status" and state.running() and (run := state.run):
        await reporter.show(request, standing(run, state.tasks), topic)
    else:
        await reporter.say(_reply(request, topic, HELP if verb == "help" else _idle(state)), request.at)
    return True


async def _decline(
    services: Services, log: ConversationLog, request: RequestState, error: UserError, topic: str = ""
) -> None:
    """Say why not, and close the request or let it wait for the account.

    It is said once for each topic in a thread: person and reason, until the person has been admitted meanwhile. Who writes
    `retry` does so because of what was said: that is said again.
    """
    topic = topic or _refusal(error, log.state, request.trigger)
    if request.trigger.request.verb == "retry":
        topic = f"{topic}:retry:{int(request.at // _SAID_AGAIN)}"
    if token := await bots_token(services, request.trigger.thread):
        await _reporter(services, log, request, token).say(_reply(request, topic, error.text), request.at)
    else:
        logger.warning(
            "request %s of %s was not answered: there is no token to answer with", request.seq, log.conversation_id
        )
    if isinstance(error, NeedsAccount):  # noted each time, or it would be rung for without end once one is linked
        await log.append(Draft(Waiting(request=request.seq, account=request.trigger.actor.key)))
    else:
        await log.append(Draft(Closed(requests=[request.seq], ending="refused")))


def _refusal(error: UserError, state: State, trigger: Trigger) -> str:
    """Return the topic of a refusal: one for each repository that somebody names while the thread has none."""
    actor = trigger.actor.key
    admitted = state.last_admitted(actor)
    topic = f"{error.word}:{actor}" + (f":{admitted}" if admitted else "")
    named = "" if known(state, trigger) else trigger.request.options.get("repo", "")
    if trigger.by == "button" and trigger.repository and state.repository is None:
        named = trigger.repository.name
    return f"{topic}:{named}" if named and not isinstance(error, NeedsAccount) else topic


async def _ahead(services: Services) -> int:
    """Return how many wait already. One that has only just been admitted is on its way to a worker, and no line."""
    just_now = services.clock() - _ON_ITS_WAY
    return sum(waiting.since < just_now for waiting in await services.queue.line())


def _under_way(state: State, request: RequestState) -> bool:
    """Whether an earlier request of the same place is still open, whose status message then speaks for this one as well."""
    earlier = (r for r in state.open("asked", "admitted") if r.needs_run and r.seq < request.seq)
    return any(r.trigger.origin.thread_id == request.trigger.origin.thread_id for r in earlier)


def _idle(state: State) -> str:
    if any(r.needs_run for r in state.open("admitted")):
        return "The request is in the queue."
    return "Nothing is running here."


def _reply(request: RequestState, topic: str, text: str) -> Say:
    return Say(topic=topic, thread=request.trigger.thread, text=text, beneath=request.trigger.origin.thread_id)


def _reporter(services: Services, log: ConversationLog, request: RequestState, token: Token) -> Reporter:
    return Reporter(log, services.integrations[request.trigger.thread.service], token, services.clock)
