"""Connections of a library that blocks: each used by one thread at a time, kept by token, closed when nothing came."""

import asyncio
import threading

import pytest

from bot.core.errors import ProviderError
from bot.core.lines import Lines
from bot.core.secret import Secret


class Wire:
    """A connection that knows its token and whether it is closed."""

    def __init__(self, token: Secret) -> None:
        self.token, self.closed = token, False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made():
    return []


@pytest.fixture
def lines(made):
    def connect(token: Secret) -> Wire:
        made.append(Wire(token))
        return made[-1]

    found = Lines("Here", 5, connect)
    yield found
    found.close()


async def test_a_line_is_kept_for_its_token_and_for_no_other(lines, made) -> None:
    one, other = Secret("one"), Secret("other")
    first = await lines.do(one, "GET /", lambda line: line)
    assert await lines.do(one, "GET /", lambda line: line) is first
    assert (await lines.do(other, "GET /", lambda line: line)).token == other
    assert len(made) == 2


async def test_two_at_once_have_a_line_each(lines) -> None:
    both = threading.Barrier(2, timeout=10)

    def work(line: Wire) -> Wire:
        both.wait()
        return line

    first, second = await asyncio.gather(*(lines.do(Secret("one"), "GET /", work) for _ in range(2)))
    assert first is not second


async def test_however_many_hang_the_next_one_does_not_wait(lines) -> None:
    end = threading.Event()
    hanging = [asyncio.create_task(lines.do(Secret("one"), "GET /", lambda line: end.wait(30))) for _ in range(100)]
    await asyncio.sleep(0)
    assert await lines.do(Secret("one"), "GET /", lambda line: "well") == "well"
    end.set()
    await asyncio.gather(*hanging)


@pytest.mark.parametrize("fault", [OSError("reset"), ValueError("no JSON"), AssertionError("of the library")])
async def test_where_nothing_comes_the_line_is_closed(lines, made, fault: Exception) -> None:
    def work(line: Wire) -> None:
        raise fault

    with pytest.raises(ProviderError, match="no answer to GET /") as refused:
        await lines.do(Secret("one"), "GET /", work)
    assert refused.value.word == "unavailable"
    assert made[0].closed


async def test_a_refusal_keeps_the_line(lines, made) -> None:
    def work(line: Wire) -> None:
        raise ProviderError("missing", "no such thing")

    with pytest.raises(ProviderError, match="no such thing"):
        await lines.do(Secret("one"), "GET /", work)
    assert await lines.do(Secret("one"), "GET /", lambda line: line) is made[0]


async def test_a_line_that_was_idle_for_long_is_closed_by_the_next_that_becomes_idle() -> None:
    both = threading.Barrier(2, timeout=10)
    lines = Lines("Here", 5, Wire, clock=iter([0.0, 0.0, 40.0, 80.0]).__next__)

    def work(line: Wire) -> Wire:
        both.wait()
        return line

    pair = await asyncio.gather(*(lines.do(Secret("one"), "GET /", work) for _ in range(2)))
    for _ in range(2):
        used = await lines.do(Secret("one"), "GET /", lambda line: line)
    assert [line.closed for line in pair] == [line is not used for line in pair]
    lines.close()


async def test_the_lines_that_were_used_last_are_kept(lines, made) -> None:
    for number in range(70):
        await lines.do(Secret(f"token {number}"), "GET /", lambda line: None)
    assert [line.closed for line in made] == [True] * 6 + [False] * 64


async def test_closing_closes_every_line(lines, made) -> None:
    await lines.do(Secret("one"), "GET /", lambda line: None)
    lines.close()
    assert made[0].closed
