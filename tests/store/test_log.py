"""The event log, on both databases."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import pytest
from sqlalchemy import text

from bot.core.errors import Conflict
from bot.core.events import (
    Admitted,
    Asked,
    Called,
    Closed,
    CommandOutput,
    Draft,
    Event,
    Finish,
    RunStarted,
    Think,
    Unknown,
    Waiting,
)
from bot.core.inbound import Trigger
from bot.core.outbound import Receipt
from bot.core.secret import Redactor, Secret
from bot.core.wire import decode
from bot.store import Store, open_store

CANARY = "canary-5d41402abc4b2a76"
THINK = Draft(Think(thought="hm"), source="agent", call_id="call-1")


async def stored_text(store: Store) -> str:
    rows = await store.database.read(lambda connection: connection.execute(text("SELECT * FROM events")).all())
    return repr(rows)


async def test_what_was_appended_is_read_back_in_order(store: Store, conversation: str) -> None:
    output = Draft(CommandOutput(command="ls", content="a\nb", exit_code=0), cause=2)
    appended = await store.log.append(conversation, [THINK, output], expected=1)
    assert await store.log.read(conversation, after=1) == appended
    assert [(e.seq, e.source, e.cause, e.call_id) for e in appended] == [
        (2, "agent", None, "call-1"),
        (3, "environment", 2, ""),
    ]
    assert [e.fact for e in appended] == [THINK.fact, output.fact]


async def test_read_gives_what_is_after_a_seq_up_to_a_limit(store: Store, conversation: str) -> None:
    await store.log.append(conversation, [THINK] * 5, expected=1)
    assert [e.seq for e in await store.log.read(conversation, after=2, limit=3)] == [3, 4, 5]
    assert await store.log.read(conversation, after=6) == []
    assert await store.log.read("no such conversation") == []


@pytest.mark.parametrize("expected", [0, 2])
async def test_an_append_that_expects_another_end_is_refused_whole(
    store: Store, conversation: str, expected: int
) -> None:
    with pytest.raises(Conflict) as refused:
        await store.log.append(conversation, [THINK, THINK], expected=expected)
    assert (refused.value.expected, refused.value.found) == (expected, 1)
    assert len(await store.log.read(conversation)) == 1


async def test_of_many_who_append_at_the_same_end_one_wins(store: Store, conversation: str) -> None:
    quick = [store.log.append(conversation, [THINK], expected=1) for _ in range(10)]
    durable = [
        store.log.append(conversation, [Draft(Called(topic="t", receipt=Receipt("1")))], expected=1) for _ in range(10)
    ]
    ends = await asyncio.gather(*quick, *durable, return_exceptions=True)
    assert sum(isinstance(end, list) for end in ends) == 1
    assert sum(isinstance(end, Conflict) for end in ends) == 19
    assert [e.seq for e in await store.log.read(conversation)] == [1, 2]


async def test_two_processes_worth_of_writers_never_share_a_seq(
    store: Store, database_url: str, conversation: str
) -> None:
    async def grown(_latest: object) -> None: ...

    other = await open_store(database_url, clock=time.time, redact=str, grown=grown, keys=[Secret("k" * 32)])

    async def write(one: Store) -> None:
        done = 0
        while done < 30:
            last = len(await one.log.read(conversation))
            with suppress(Conflict):
                await one.log.append(conversation, [THINK], expected=last)
                done += 1

    await asyncio.gather(write(store), write(other))
    await other.close()
    assert [e.seq for e in await store.log.read(conversation)] == list(range(1, 62))


async def test_the_first_append_makes_a_conversation_that_is_not_there(
    store: Store, trigger: Callable[..., Trigger]
) -> None:
    with pytest.raises(Conflict):
        await store.log.append("new", [THINK], expected=3)
    await store.log.append("new", [Draft(Asked(trigger=trigger()), source="user")], expected=0)
    record = await store.conversations.get("new")
    assert record is not None
    assert (record.thread, record.title, record.last_seq) == ("github:owner/repo#12", "Login fails", 1)


async def test_a_thread_has_one_conversation_whatever_its_id(
    store: Store, conversation: str, trigger: Callable[..., Trigger]
) -> None:
    with pytest.raises(Conflict):
        await store.log.append("another", [Draft(Asked(trigger=trigger("2")), source="user")], expected=0)
    assert await store.log.read("another") == []
    assert len(await store.log.read(conversation)) == 1


async def test_a_planted_secret_is_masked_wherever_it_stands(store: Store, trigger: Callable[..., Trigger]) -> None:
    drafts = [
        Draft(Asked(trigger=trigger(title=f"use {CANARY}"))),
        Draft(Finish(outputs={"deep": [{CANARY: [f"x{CANARY}x"]}]}), call_id=CANARY),
        Draft(Unknown(body={"action": "later", "args": {"keys": [CANARY]}})),
    ]
    appended = await store.log.append("masked", drafts, expected=0)
    assert CANARY not in repr(appended)
    assert CANARY not in repr(await store.log.read("masked"))
    assert CANARY not in await stored_text(store)
    assert CANARY not in repr(await store.conversations.list())


async def test_a_secret_of_several_lines_is_masked(database_url: str) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----"

    async def grown(_latest: object) -> None: ...

    store = await open_store(
        database_url, clock=time.time, redact=Redactor([Secret(pem)]), grown=grown, keys=[Secret("k" * 32)]
    )
    await store.log.append("c", [Draft(CommandOutput(content=f"cat key\n{pem}\n"))], expected=0)
    [event] = await store.log.read("c")
    assert event.fact == CommandOutput(content="cat key\n********\n")
    assert "MIIEvQ" not in await stored_text(store)
    await store.close()


async def test_nul_and_lone_surrogates_are_replaced(store: Store) -> None:
    appended = await store.log.append("c", [Draft(CommandOutput(content="a\x00b\ud800c"))], expected=0)
    assert appended[0].fact == CommandOutput(content="a\ufffdb\ufffdc")
    assert await store.log.read("c") == appended


async def test_events_of_a_kind_from_the_future_survive(store: Store) -> None:
    fact = decode({"action": "teleport", "args": {"to": ["moon"], "deep": {"a": 1}}})
    assert isinstance(fact, Unknown)
    await store.log.append("c", [Draft(fact, source="agent", cause=4)], expected=0)
    [event] = await store.log.read("c")
    assert event.fact == fact
    assert (event.source, event.cause) == ("agent", 4)


async def test_a_stored_body_is_the_wire_shape_without_id_and_time(store: Store) -> None:
    await store.log.append("c", [THINK], expected=0)
    query = text("SELECT kind, body FROM events")
    [(kind, body)] = await store.database.read(lambda connection: connection.execute(query).all())
    assert kind == "think"
    assert json.loads(body) == {
        "source": "agent",
        "tool_call_id": "call-1",
        "action": "think",
        "args": {"thought": "hm"},
    }


@pytest.mark.parametrize("limit", [None, 0, 1, 63, 64, 65, 100, 500])
@pytest.mark.parametrize("after", [0, 86, 87, 149, 150])
async def test_a_log_of_any_length_is_read_from_anywhere(store: Store, after: int, limit: int | None) -> None:
    await store.log.append("c", [THINK] * 150, expected=0)
    found = [event.seq for event in await store.log.read("c", after, limit)]
    assert found == list(range(after + 1, 151))[:limit]


async def test_times_come_from_the_clock_that_was_given(database_url: str) -> None:
    async def grown(_latest: object) -> None: ...

    store = await open_store(database_url, clock=lambda: 1234.5, redact=str, grown=grown, keys=[Secret("k" * 32)])
    [event] = await store.log.append("c", [THINK], expected=0)
    record = await store.conversations.get("c")
    await store.close()
    assert record is not None
    assert (event.at, record.created_at, record.updated_at) == (1234.5, 1234.5, 1234.5)


async def test_listeners_hear_how_far_a_log_has_grown(database_url: str) -> None:
    heard: dict[str, int] = {}

    async def grown(latest: Mapping[str, int]) -> None:
        heard.update(latest)

    store = await open_store(database_url, clock=time.time, redact=str, grown=grown, keys=[Secret("k" * 32)])
    await store.log.append("a", [THINK, THINK], expected=0)
    await store.log.append("b", [THINK], expected=0)
    await store.close()
    assert heard == {"a": 2, "b": 1}


async def test_a_listener_that_fails_is_logged_and_nothing_more(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def grown(_latest: object) -> None:
        raise ConnectionError("Redis is away")

    store = await open_store(database_url, clock=time.time, redact=str, grown=grown, keys=[Secret("k" * 32)])
    with caplog.at_level(logging.WARNING):
        await store.log.append("a", [THINK], expected=0)
        assert len(await store.log.read("a")) == 1
        await store.close()
    assert "Redis is away" in caplog.text


async def append(store: Store, conversation: str, *drafts: Draft) -> list[Event]:
    last = len(await store.log.read(conversation))
    return await store.log.append(conversation, drafts, expected=last)


async def status(store: Store, conversation: str) -> str:
    record = await store.conversations.get(conversation)
    assert record is not None
    return record.status


async def test_the_status_follows_the_log(store: Store, conversation: str) -> None:
    seen = [await status(store, conversation)]
    for fact in (
        Waiting(request=1, account="github:7"),
        Admitted(request=1, user="ann"),
        RunStarted(run="r", holder="h", requests=[1]),
        Closed(requests=[1], ending="finished"),
    ):
        await append(store, conversation, Draft(fact))
        seen.append(await status(store, conversation))
    assert seen == ["queued", "waiting", "queued", "running", "finished"]


async def test_a_further_request_does_not_hide_that_a_run_goes_on(
    store: Store, conversation: str, trigger: Callable[..., Trigger]
) -> None:
    await append(store, conversation, Draft(Admitted(request=1)), Draft(RunStarted(run="r", holder="h", requests=[1])))
    [asked] = await append(store, conversation, Draft(Asked(trigger=trigger("2"))))
    assert await status(store, conversation) == "running"
    await append(store, conversation, Draft(Closed(requests=[asked.seq], ending="finished")))
    assert await status(store, conversation) == "running"
    await append(store, conversation, Draft(Closed(requests=[1], ending="stopped")))
    assert await status(store, conversation) == "stopped"
