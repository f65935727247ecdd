"""What an HTTP status means, and what a header asks for."""

import pytest

from bot.core.refusals import seconds, word_of


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (401, "unauthorized"), (403, "forbidden"), (404, "missing"), (410, "missing"), (409, "conflict"), (422, "invalid"),
        (400, "invalid"),
        (429, "limited"), (408, "unavailable"), (500, "unavailable"), (503, "unavailable"), (0, "unavailable"),
    ],
)  # fmt: skip
def test_a_status_has_a_word(status: int, word: str) -> None:
    assert word_of(status) == word


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3.0), ("0.5", 0.5), ("", None), (None, None), ("-1", None), ("nan", None), ("soon", None)],
)
def test_a_header_asks_for_seconds(text: str | None, number: float | None) -> None:
    assert seconds(text) == number
