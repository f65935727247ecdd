"""Text as GitLab takes it: under our hidden mark, and with nothing in it that GitLab would carry out. Pure."""

import re

from bot.core import marks
from bot.core.untrusted import clean

LONGEST = 1_000_000
"""Characters that GitLab takes as a note or a description."""

_QUICK_ACTION = re.compile(r"^/(?=[A-Za-z_]+(?:\s|\Z))", re.MULTILINE)


def marked(text: str, topic: str) -> str:
    """Return the text under its mark, cut to what GitLab takes, without quick actions."""
    return marks.marked(without_quick_actions(clean(text)), topic, LONGEST)


def without_quick_actions(text: str) -> str:
    """Return the text so that a line such as `/close` reads the same and closes nothing.

    https://docs.gitlab.com/user/project/quick_actions/
    """
    return _QUICK_ACTION.sub(r"\\/", text)
