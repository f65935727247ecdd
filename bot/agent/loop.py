"""The loop: ask the model, carry out what it calls for, note both, until an ending. All of it goes through ports."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bot.agent.endings import Ending, Failed, ending_of
from bot.agent.history import NO_RESULT, History
from bot.agent.limits import Meter
from bot.agent.prompts import prompt
from bot.agent.replies import Step, calls_of, tidy, understand
from bot.agent.resume import left_open, unseen_requests
from bot.agent.silence import go_on
from bot.core.errors import ContextTooLong, ImagesRefused, ModelError, SandboxError, SandboxGone, UserError
from bot.core.events import Action, Draft, Event, Finish, ModelReply, Notice, Observation, Problem, Reject
from bot.core.images import REFUSED
from bot.core.outbound import Outcome
from bot.core.ports import Limits, Model, Reply, RunLog, Sandbox, Tool

logger = logging.getLogger(__name__)

_SHORTENINGS = 6
_BLIND = "Not looked at: the images, as the language model did not take them."
_LATE = (
    "Not yet: somebody wrote while you were finishing; see the message that follows. Finish when that is answered too."
)


async def work(
    log: RunLog,
    model: Model,
    tools: Mapping[str, Tool],
    sandbox: Sandbox,
    limits: Limits,
    clock: Callable[[], float],
    images: Mapping[str, str] = {},
) -> Outcome:
    """Let the agent work on what is admitted in the log until the run ends; return how.

    The log must have a RunStarted. Called again on the log of a run that was cut off, it goes on from there. Cancelling
    is safe at any moment. `images` are data URLs of images in the log, by address. Raises SandboxGone when the box has
    died, LeaseLost, and what else the log raises.
    """
    meter = Meter(log, limits, clock)
    agent = Agent(log, model, tools, meter.bound(sandbox), meter, images)
    try:
        async with asyncio.timeout(meter.patience) as patience:
            await agent.settle()
            while True:
                await agent.step()
    except Ending as ending:
        return ending.outcome
    except TimeoutError:
        if not patience.expired():
            raise
        return meter.over_time().outcome


class Agent:
    """One run at work."""

    def __init__(
        self,
        log: RunLog,
        model: Model,
        tools: Mapping[str, Tool],
        sandbox: Sandbox,
        meter: Meter,
        images: Mapping[str, str],
    ) -> None:
        self._log, self._model, self._sandbox, self._meter = log, model, sandbox, meter
        self._tools = {tool.name: tool for tool in tools.values()}
        self._offered = [_offer(tool) for tool in tools.values()]
        self._history, self._images = History(prompt("system"), images), images

    async def settle(self) -> None:
        """Close what an earlier holder of the run has left open. What was paid for is used."""
        found = left_open(self._log.events, self._meter.since)
        unknown = Problem(error_id="interrupted", content=NO_RESULT)
        for action in found.interrupted:
            await self._log.append(Draft(unknown, cause=action.seq, call_id=action.call_id))
        if found.reply is None:
            return
        steps = [understand(call, self._tools) for call in found.calls]
        begun = await self._log.append(*[step.draft for step in steps]) if steps else []
        await self._carry_out(zip(steps, begun, strict=True))
        await self._conclude(found.reply, [*found.ends, *_ends(begun)], [*found.unended, *_ends(begun)])

    async def step(self) -> None:
        """Ask once, and carry out the answer."""
        await self._log.refresh()
        if warning := self._meter.check():
            await self._log.append(warning)
        reply, known = await self._ask()
        said = tidy(reply, self._history)
        steps = [understand(call, self._tools) for call in calls_of(said)]
        replied, *begun = await self._log.append(Draft(said, "agent", cause=known), *[step.draft for step in steps])
        await self._carry_out(zip(steps, begun, strict=True))
        await self._conclude(replied, _ends(begun), _ends(begun))

    async def _ask(self) -> tuple[Reply, int]:
        """Return the model's reply, and the seq of the last event that it knew."""
        for _ in range(_SHORTENINGS):
            messages, known = self._history.follow(self._log.events), self._log.events[-1].seq
            try:
                return await self._model.complete(messages, self._offered), known
            except ContextTooLong:
                if not self._history.shorten():
                    break
            except ModelError as error:
                if isinstance(error, ImagesRefused) and self._images:
                    await self._go_on_without_images()
                    continue
                raise Failed("model", f"The language model gave no usable answer ({error}).") from error
        raise Failed("context", "The work has grown longer than the model can take in. Ask for it in smaller parts.")

    async def _go_on_without_images(self) -> None:
        """Begin the history anew with words instead of images, and say so to the model and the person."""
        self._history, self._images = History(prompt("system")), {}
        await self._log.append(Draft(Notice(reason=REFUSED, content=_BLIND)))

    async def _carry_out(self, steps: Iterable[tuple[Step, Event]]) -> None:
        for step, event in steps:
            if step.tool and isinstance(step.fact, Action) and not isinstance(step.fact, Finish | Reject):
                result = await self._result(step.tool, step.fact)
                await self._log.append(Draft(result, cause=event.seq, call_id=step.call_id))

    async def _result(self, tool: Tool, action: Action) -> Observation:
        try:
            return await tool.execute(action, self._sandbox)
        except SandboxGone:
            raise
        except SandboxError as error:
            return Problem(error_id="sandbox", content=str(error))
        except UserError as error:
            return Problem(error_id=error.word, content=error.text)
        except Exception as error:  # a stranger's tool must not end the run
            logger.warning("the tool %s failed", tool.name, exc_info=True)
            return Problem(error_id="tool", content=f"The tool {tool.name} failed with {type(error).__name__}.")

    async def _conclude(self, reply: Event, ends: Sequence[Event], unanswered: Sequence[Event]) -> None:
        """End the run if the reply asks for it and knew of everybody; ask it to go on if it called for nothing."""
        late = unseen_requests(self._log.events, self._log.state, reply)
        answer = Notice(reason="late" if late else "end", content=_LATE if late else "The run ends here.")
        for action in unanswered:
            await self._log.append(Draft(answer, cause=action.seq, call_id=action.call_id))
        if ends and not late:
            raise ending_of(ends[0].fact)
        if isinstance(reply.fact, ModelReply) and not reply.fact.calls:
            await self._log.append(go_on(self._log.events))


def _ends(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if isinstance(event.fact, Finish | Reject)]


def _offer(tool: Tool) -> dict[str, Any]:
    """A tool as the chat completions API describes it."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
