"""How a run ends. Each ending is an exception that carries the Outcome, so that any step of the loop can end it."""

from bot.core.events import Fact, Finish
from bot.core.outbound import Outcome


class Ending(Exception):
    """The run is over."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.ending, outcome.reason)
        self.outcome = outcome


class Done(Ending):
    """The agent says that the work is done, or has answered in words."""

    def __init__(self, text: str, title: str = "", reason: str = "") -> None:
        super().__init__(Outcome("finished", reason, text, title))


class Declined(Ending):
    """The agent says that the work cannot or should not be done."""

    def __init__(self, text: str, title: str = "") -> None:
        super().__init__(Outcome("refused", "agent", text, title))


class LimitReached(Ending):
    """A cap of the run is reached; what was made is kept. `word` is steps, cost or minutes."""

    def __init__(self, word: str, limit: str) -> None:
        text = (
            f"I stopped at the limit of {limit}. What I had changed until then is kept. Write `retry` to let me go on."
        )
        super().__init__(Outcome("limit", word, text))


class Failed(Ending):
    """Something that the agent needs is broken. `word` is model, context or sandbox."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(Outcome("failed", word, text))


def ending_of(action: Fact) -> Ending:
    """Return the ending that a Finish or Reject asks for."""
    outputs = getattr(action, "outputs", {})
    text, title = str(outputs.get("summary", "")), str(outputs.get("title", ""))
    return Done(text, title) if isinstance(action, Finish) else Declined(text, title)
