"""The caps of a run, measured on the log: a run that another worker goes on with is the same run."""

from collections.abc import Callable
from typing import cast

from bot.agent.endings import LimitReached
from bot.core.events import Draft, Notice
from bot.core.ports import CommandResult, Limits, RunLog, Sandbox

_NEAR = 0.8
_GRACE_SECONDS = 15.0


class Meter:
    """Steps, money and minutes of the run that the log is in. Needs a RunStarted in the log."""

    def __init__(self, log: RunLog, limits: Limits, clock: Callable[[], float]) -> None:
        if log.state.run is None:
            raise ValueError("the log has no run: append RunStarted before the agent works")
        self._run, self._limits, self._clock = log.state.run, limits, clock
        self.since = self._run.seq
        """The seq at which the run began."""
        own = (e.fact for e in log.events if e.seq > self.since)
        self._warned = any(isinstance(fact, Notice) and fact.reason == "limit" for fact in own)

    @property
    def seconds_left(self) -> float:
        """How long the run may still go on; negative when it is over time."""
        return self._run.started_at + self._limits.minutes * 60 - self._clock()

    @property
    def patience(self) -> float:
        """Seconds after which even a call that does not come back is given up."""
        return max(self.seconds_left, 0.0) + _GRACE_SECONDS

    def over_time(self) -> LimitReached:
        """The ending of a run that is over time."""
        return LimitReached("minutes", f"{self._limits.minutes:g} minutes")

    def check(self) -> Draft | None:
        """Return the one warning when a cap comes near. Raises LimitReached at a cap."""
        used, limits = self._run, self._limits
        caps = (
            ("steps", used.steps, limits.steps, f"{limits.steps} steps"),
            ("cost", used.cost_usd, limits.cost_usd, f"{limits.cost_usd:.2f} US dollars"),
            ("minutes", limits.minutes * 60 - self.seconds_left, limits.minutes * 60, f"{limits.minutes:g} minutes"),
        )
        for word, spent, cap, text in caps:
            if spent >= cap:
                raise LimitReached(word, text)
        near = [text for _, spent, cap, text in caps if spent >= _NEAR * cap]
        if not near or self._warned:
            return None
        self._warned = True
        return Draft(
            Notice(
                reason="limit",
                content=f"Four fifths of {near[0]} are used up; at the limit the run ends where it stands. Bring the "
                "work into a state that can be handed in, check it, and call `finish`, saying what is left open.",
            )
        )

    def bound(self, sandbox: Sandbox) -> Sandbox:
        """Return the box, with no command in it longer than the limits allow."""
        return cast(Sandbox, _Bounded(sandbox, lambda: max(1.0, min(self._limits.command_seconds, self.seconds_left))))


class _Bounded:
    """A box whose commands have an upper time limit; everything else is the box's own."""

    def __init__(self, sandbox: Sandbox, most: Callable[[], float]) -> None:
        self._sandbox, self._most = sandbox, most

    def __getattr__(self, name: str) -> object:
        return getattr(self._sandbox, name)

    async def run(self, command: str, *, timeout: float = 120.0, stdin: str = "") -> CommandResult:  # noqa: ASYNC109  the port's
        return await self._sandbox.run(command, timeout=min(timeout, self._most()), stdin=stdin)
