"""More is asked than the house can work on at a time: everybody sees the own place in the line, and each request ends once."""

from pathlib import Path
from typing import Any

import pytest

from tests.journeys.faults.conftest import Begin, place_at
from tests.journeys.faults.test_redis import has
from tests.journeys.steps import MEND_CALC, bash, finish

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


async def test_who_waits_sees_the_line_get_shorter_and_comes_to_an_end(begin: Begin, tmp_path: Path) -> None:
    """One run at a time, and four requests. Each run waits until the test lets it go on."""
    go = tmp_path / "go"
    held = [bash(f"until rm {go} 2>/dev/null; do sleep 0.1; done"), bash(MEND_CALC), finish()]
    async with begin(script=held, ONHAND_LIMITS__CONCURRENT_RUNS="1") as service, place_at(service, tmp_path) as place:
        for number in range(1, 5):
            await place.issue()
            await place.until(lambda number=number: place.said(number))
        await place.until(lambda: has(place, 1, "run"))
        await place.until(lambda: shows(place, 4, "2 requests are before yours"))
        await place.until(lambda: shows(place, 3, "1 request is before yours"))
        go.touch()
        await place.until(lambda: shows(place, 4, "1 request is before yours"))
        assert [await has(place, number, "run") for number in range(1, 5)].count(True) <= 2, "one at a time"
        for _ in range(3):
            go.touch()
            await place.until(lambda: not go.exists())
        for number in range(1, 5):
            await place.ended(number)
            assert "Done" in place.said(number)[0]
            kinds = [event.get("observation") for event in await place.events(number)]
            assert [kinds.count(kind) for kind in ("run_started", "run_ended", "closed")] == [1, 1, 1]
        assert len(place.pulls()) == 4


async def test_forty_requests_at_a_platform_that_hangs_keep_no_other_from_its_answer(
    begin: Begin, tmp_path: Path
) -> None:
    unlimited = {"ONHAND_LIMITS__PER_PERSON": "0", "ONHAND_LIMITS__PER_REPOSITORY": "0"}
    async with begin(script=[finish()], **unlimited) as service, place_at(service, tmp_path) as place:
        held = place.github.hold("POST", rf"/repos/{place.name}/issues/([1-3]?\d|40)/comments", times=40)
        for _ in range(40):
            await place.issue("@onhand status")
        await place.until(lambda: held.times == 0)
        other = await place.issue("@onhand help")
        await place.until(lambda: place.said(other), 10.0)
        assert not any(place.said(number) for number in range(1, 41))
        held.release()
        for number in range(1, 41):
            await place.until(lambda number=number: len(place.said(number)) == 1)


def shows(place: Any, number: int, words: str) -> bool:
    """Whether the one status comment of a request says this."""
    [said] = place.said(number)
    return words in said
