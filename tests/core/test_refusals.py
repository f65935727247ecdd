"""What an answer means: its status, its headers, what stands in it, and what becomes of a refusal."""

import pytest

from bot.core.errors import ProviderError, ProviderWord
from bot.core.refusals import UNTOLD, courtesy, read, refusal, seconds, unless, wait_of, word_of


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


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:03:00 GMT"}, 80.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:03:00 GMT", "date": "Thu, 01 Jan 1970 00:02:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, UNTOLD),
        ({"retry-after": "-1"}, UNTOLD),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, UNTOLD),
        ({"w-remaining": "1", "w-reset": "160"}, None),
        ({"w-remaining": "0", "w-reset": "160"}, 60.0),
        ({"w-remaining": "0", "w-reset": "90"}, 0.0),
        ({"w-remaining": "0"}, UNTOLD),
        ({"w-remaining": "0", "w-reset": "160", "date": "Thu, 01 Jan 1970 00:02:30 GMT"}, 10.0),
    ],
)
def test_headers_ask_for_a_wait(headers: dict[str, str], wait: float | None) -> None:
    assert wait_of(headers, 100.0, "w") == wait


def test_a_limit_without_a_time_is_a_minute() -> None:
    assert refusal("Here", 429, "GET /", "slow down").retry_after == UNTOLD
    assert refusal("Here", 404, "GET /", "no").retry_after is None


def test_what_stands_under_a_path_is_read() -> None:
    assert read(b'{"commit": {"id": "c0ffee", "more": []}}', str, "Here", "commit", "id") == "c0ffee"


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b"null", b'{"commit": 7}', b'{"commit": {"id": 7}}', b"\xff"]
)
def test_an_answer_that_is_none_may_come_later(answer: bytes) -> None:
    with pytest.raises(ProviderError, match="Here's answer was not understood") as refused:
        read(answer, str, "Here", "commit", "id")
    assert refused.value.word == "unavailable"


async def refused(word: ProviderWord) -> str:
    raise ProviderError(word, "no")


async def test_nothing_comes_of_an_expected_refusal_and_others_are_raised() -> None:
    assert await unless(refused("missing"), "missing", "invalid") is None
    with pytest.raises(ProviderError):
        await unless(refused("forbidden"), "missing", "invalid")


@pytest.mark.parametrize("word", ["forbidden", "missing", "conflict", "invalid"])
async def test_a_courtesy_that_is_refused_is_left_undone(word: ProviderWord) -> None:
    assert await courtesy(refused(word)) is None


@pytest.mark.parametrize("word", ["unauthorized", "limited", "unavailable"])
async def test_a_courtesy_that_may_succeed_later_is_not(word: ProviderWord) -> None:
    with pytest.raises(ProviderError):
        await courtesy(refused(word))
