"""Reading the names of repositories out of what people write. Pure: whether one exists, only its forge knows."""

import re
from collections.abc import Iterator

from bot.core.untrusted import clean

_LONGEST = 20_000
_MOST = 8
"""Names that are worth asking a forge about."""

_ADDRESS = re.compile(r"(?:https?://|ssh://git@|git@)[^\s<>()\[\]\"'`|\\]{3,300}")
_NAME = re.compile(
    r"""(?x)
    (?<![\w./@~:\\\-])                                       # no path, address or e-mail before it
    ([A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))/([A-Za-z0-9._-]{1,100})
    (?![\w/@\\])                                             # and no path behind it
    """
)
_NUMBER = re.compile(r"v?[\d.,]+(?:st|nd|rd|th|x|k|m|s|ms|gb|mb)?", re.IGNORECASE)
_FILE = re.compile(
    r"\.(?:py|pyi|js|jsx|mjs|ts|tsx|rs|go|c|h|cc|cpp|hpp|cs|java|kt|rb|php|swift|sh|sql|md|rst|txt|json|ya?ml|toml|ini|cfg|conf"
    r"|xml|html?|css|scss|vue|lock|log|csv|pdf|png|jpe?g|gif|svg|zip|gz|tar|env|exe|dll|so|proto|tf|gradle|ipynb)\Z",
    re.IGNORECASE,
)
_FOLDERS = frozenset(
    """
    src lib libs test tests spec docs doc bin etc usr var tmp opt home dev proc app apps pkg cmd internal public static
    assets dist build node_modules vendor scripts config configs templates components pages api refs origin upstream
    feature bugfix hotfix release heads
    """.split()  # noqa: SIM905  a list of words is read more easily so
)
"""What stands before a slash in paths and branches."""
_WORDS = frozenset(
    """
    and/or he/she she/he his/her him/her they/them s/he either/or yes/no true/false on/off in/out input/output read/write
    client/server tcp/ip ci/cd i/o w/o w/ n/a a/b b/c r/w p/e km/h up/down left/right start/stop push/pull pull/push
    before/after pass/fail success/failure login/logout sign-in/sign-up get/post json/xml text/html text/plain
    application/json image/png multipart/form-data utf-8/ascii windows/linux mac/linux linux/mac ios/android dev/prod
    staging/prod frontend/backend backend/frontend day/night 24/7
    """.split()  # noqa: SIM905  a list of words is read more easily so
)
"""Words that people join with a slash."""


def addresses(text: str) -> Iterator[str]:
    """Yield the addresses in a text, first ones first, each once."""
    found = (m[0].rstrip(".,;:!?") for m in _ADDRESS.finditer(clean(text[:_LONGEST])))
    yield from list(dict.fromkeys(found))[:_MOST]


def names(text: str) -> Iterator[str]:
    """Yield what reads like `owner/name` and is no date, version, path, file or figure of speech, each once."""
    said = _ADDRESS.sub(" ", clean(text[:_LONGEST]))
    found = (f"{m[1]}/{name}" for m in _NAME.finditer(said) if (name := _name(m[1], m[2])))
    yield from list(dict.fromkeys(found))[:_MOST]


def _name(owner: str, name: str) -> str:
    """Return the name of a repository without what belongs to the sentence; "" for what is none."""
    name = name.rstrip(".,-_").removesuffix(".git")
    joined = f"{owner}/{name}".lower()
    if not name or joined in _WORDS or owner.lower() in _FOLDERS or owner.endswith("-"):
        return ""
    if _NUMBER.fullmatch(owner) or _NUMBER.fullmatch(name) or _FILE.search(name):
        return ""
    return name
