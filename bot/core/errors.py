"""The one tree of errors.

    OnhandError
    ├── Rejected            a delivery that we do not take (word, detail, HTTP status)
    ├── UserError           safe to show to the person who asked: what happened, what to do
    │   ├── Refused         the request may not or can not be served
    │   ├── NeedsAccount    the person must connect an account first
    │   └── Unclear         the person must answer a question first
    ├── ConfigError         a setting is wrong; said at start
    ├── Unavailable         the database, Redis or our disk cannot take it now; the same may succeed later
    ├── Conflict            the log has moved on since it was read
    ├── LeaseLost           another holder goes on with this conversation
    ├── ProviderError       a platform's API said no, or nothing
    ├── SandboxError        a box did not do what it was asked
    │   └── SandboxGone     there is no such box any more
    └── ModelError          the language model gave no usable answer
        ├── ContextTooLong  the prompt does not fit; shorten it and ask again
        └── ImagesRefused   the prompt has images and was not taken; ask again without them

Every message says what was expected, what came and what to do. `word` is for machines, the text for people.
"""

from typing import Literal

ProviderWord = Literal["unauthorized", "forbidden", "missing", "conflict", "invalid", "limited", "unavailable"]
"""401, 403, 404/410, 409, 422, 429 (and 403 with a rate limit), 5xx or no answer."""


class OnhandError(Exception):
    """Anything that onhand raises on purpose."""


class Rejected(OnhandError):
    """A delivery that is not taken. `status` is the HTTP status of the answer: 400, 401, 404, 405 or 413."""

    def __init__(self, word: str, detail: str, status: int = 400) -> None:
        super().__init__(f"{word}: {detail}")
        self.word, self.detail, self.status = word, detail, status


class UserError(OnhandError):
    """A sentence that may be posted where the person asked."""

    def __init__(self, word: str, text: str) -> None:
        super().__init__(text)
        self.word, self.text = word, text


class Refused(UserError):
    """The request may not be served; the text says why and what would help."""


class NeedsAccount(UserError):
    """The person is not known yet; the text carries the link that connects the account, and says that the request waits for it.

    `ended` is what to say where it does not wait.
    """

    def __init__(self, text: str, ended: str) -> None:
        super().__init__("account", text)
        self.ended = ended


class Unclear(UserError):
    """We have to know which repository is meant. `choices` are answers that may be, as `service:owner/name`."""

    def __init__(self, question: str, choices: tuple[str, ...] = ()) -> None:
        super().__init__("repository", question)
        self.choices = choices


class ConfigError(OnhandError):
    """A setting is missing or wrong. The text names the setting and says what is expected."""


class Unavailable(OnhandError):
    """The database, Redis or the disk did not take it now (locked, full, restarting, out of reach).

    Where only the answer was lost it is stored all the same: who tries again looks first, or does what is harmless twice.
    """


class Conflict(OnhandError):
    """An append stated a seq that is no longer the last one."""

    def __init__(self, conversation_id: str, expected: int, found: int) -> None:
        super().__init__(
            f"conversation {conversation_id}: expected last seq {expected}, found {found}; read and try again"
        )
        self.expected, self.found = expected, found


class LeaseLost(OnhandError):
    """Another worker has taken this conversation over; stop writing."""


class ProviderError(OnhandError):
    """A platform's API refused or did not answer. `retry_after` is in seconds where the platform named a time."""

    def __init__(self, word: ProviderWord, detail: str, retry_after: float | None = None) -> None:
        super().__init__(f"{word}: {detail}")
        self.word: ProviderWord = word
        self.detail, self.retry_after = detail, retry_after

    @property
    def worth_retrying(self) -> bool:
        """Whether the same call may succeed later without anybody changing anything."""
        return self.word in ("limited", "unavailable")

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later, by itself or once the token is renewed: what it is for is not given up."""
        return self.worth_retrying or self.word == "unauthorized"


class SandboxError(OnhandError):
    """A box refused, broke its protocol or could not be made."""


class SandboxGone(SandboxError):
    """The box is not there any more: it was removed, or its process died."""


class ModelError(OnhandError):
    """The language model could not be reached or gave no usable answer after all retries."""


class ContextTooLong(ModelError):
    """The prompt is longer than the model's window."""


class ImagesRefused(ModelError):
    """The model takes no images, or not these."""
