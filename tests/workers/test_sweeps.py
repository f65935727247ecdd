"""The sweeps on a real database, a real Redis and real mirrors: what each finds, and that operators see it."""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import MetaData, create_engine

from bot import bootstrap, config
from bot.bus import ACTIONS, RUNS
from bot.commands import doctor
from bot.core.conversation import conversation_id
from bot.core.errors import ProviderError, Unavailable
from bot.core.events import Admitted, Draft, RunStarted, Waiting
from bot.core.inbound import Account, Delivery, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.core.ports import CaughtUp
from bot.core.secret import Secret
from bot.store import open_store
from bot.testing.integrations import RecordingClient
from bot.web.app import create
from workers import sweeps

THREAD = Thread("github", "acme/app", "1")
CONVERSATION = conversation_id(THREAD)
NO_SHOP: Any = None


@pytest.fixture
async def built(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[bootstrap.Built]:
    environment = {
        "ONHAND_HOME": str(tmp_path / "home"),
        "ONHAND_DATABASE_URL": database_url,
        "ONHAND_REDIS_URL": redis_url,
    }
    async with bootstrap.build(config.load(environment)) as opened:
        yield opened


async def ask(built: bootstrap.Built, comment: str = "1", thread: Thread = THREAD) -> int:
    trigger = Trigger(
        thread, Account("github", "7", "ann"), Request("work", "fix it"), f"{thread.key}:{comment}", "mention",
        Origin("comment", comment),
    )  # fmt: skip
    delivery = Delivery("github", f"d-{thread.key}-{comment}", "issue_comment.created", (trigger,))
    [(_, seq)] = (await built.services.inbox.accept(delivery)).fresh
    return seq


@asynccontextmanager
async def at(built: bootstrap.Built, clock: Callable[[], float]) -> AsyncIterator[bootstrap.Built]:
    """The same services with another clock."""
    url = bootstrap.database_url(built.settings)
    store = await open_store(url, clock=clock, redact=str, grown=built.bus.grown, keys=[Secret("k" * 32)])
    services = replace(built.services, inbox=store.inbox, log=store.log, sweeps=store.sweeps, clock=clock)
    yield replace(built, services=services)
    await store.close()


async def shown(built: bootstrap.Built) -> dict[str, float]:
    """What /metrics says, by sample."""
    transport = httpx.ASGITransport(create(built))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    rows = [line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


async def turn(built: bootstrap.Built, name: str) -> None:
    """Let the sweep's job have its turn, as arq would."""
    [job] = [job for job in sweeps.cron_jobs() if job.name == f"sweep:{name}"]
    await job.coroutine({"services": built.services, "shop": NO_SHOP})  # type: ignore[call-arg, arg-type]


async def test_what_is_open_is_in_the_metrics(built: bootstrap.Built) -> None:
    await ask(built)
    seq = await ask(built, thread=Thread("github", "acme/app", "2"))
    other = conversation_id(Thread("github", "acme/app", "2"))
    await built.services.log.append(other, [Draft(Admitted(request=seq))], expected=seq)
    await built.bus.acknowledge(CONVERSATION, 1)
    seen = await shown(built)
    assert seen['onhand_requests{phase="asked"}'] == 1
    assert seen['onhand_requests{phase="admitted"}'] == 1
    assert seen['onhand_requests{phase="waiting"}'] == 0
    assert seen['onhand_conversations{status="queued"}'] == 2
    assert 0 < seen["onhand_oldest_request_seconds"] < 600
    assert seen['onhand_jobs{queue="actions"}'] == 1
    assert seen['onhand_jobs{queue="runs"}'] == 0


async def test_a_sweep_is_in_the_metrics_with_what_it_found_and_in_all(built: bootstrap.Built) -> None:
    await built.services.sweeps.note("leases", 2)
    await built.services.sweeps.note("leases", 1, "OSError: no")
    seen = await shown(built)
    assert seen['onhand_sweep_found{sweep="leases"}'] == 1
    assert seen['onhand_sweep_found_total{sweep="leases"}'] == 3
    assert seen['onhand_sweep_trouble{sweep="leases"}'] == 1
    assert abs(seen['onhand_sweep_last_run_timestamp_seconds{sweep="leases"}'] - time.time()) < 600


async def test_the_metrics_answer_without_redis(built: bootstrap.Built) -> None:
    there = built.bus.redis
    built.bus.redis = bootstrap.connect("unix:///nowhere/redis.sock")
    seen = await shown(built)
    built.bus.redis = there
    assert 'onhand_jobs{queue="runs"}' not in seen
    assert seen['onhand_requests{phase="asked"}'] == 0


async def test_the_metrics_answer_without_tables(built: bootstrap.Built) -> None:
    """A server took over that holds none."""
    metadata = MetaData()
    engine = create_engine(bootstrap.database_url(built.settings).replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        metadata.reflect(connection)
        metadata.drop_all(connection)
    engine.dispose()
    seen = await shown(built)
    assert 'onhand_jobs{queue="runs"}' in seen
    assert 'onhand_requests{phase="asked"}' not in seen


async def test_a_run_that_was_cut_off_goes_on_before_the_line_though_redis_has_forgotten_that_it_began(
    built: bootstrap.Built,
) -> None:
    threads = [Thread("github", "acme/app", item) for item in ("waits", "cut off", "waits too")]
    async with at(built, lambda: time.time() - sweeps.ANSWERED_WITHIN - 1) as then:
        for thread in threads:
            seq = await ask(then, thread=thread)
            await then.services.log.append(conversation_id(thread), [Draft(Admitted(request=seq))], expected=seq)
        waits, cut_off, waits_too = map(conversation_id, threads)
        await then.services.log.append(cut_off, [Draft(RunStarted(run="r", holder="w", requests=[1]))], expected=2)
    await built.bus.run(waits, 1)
    assert await sweeps.requests(built.services, NO_SHOP) == 3
    line = [job_id.decode() for job_id in await built.bus.redis.zrange(RUNS, 0, -1)]
    assert line == [f"run:{one}:1" for one in (cut_off, waits, waits_too)]


async def test_a_request_that_nobody_was_rung_for_is_found(built: bootstrap.Built) -> None:
    ago = sweeps.ANSWERED_WITHIN + 1
    async with at(built, lambda: time.time() - ago) as then:
        await ask(then)
    await ask(built, thread=Thread("github", "acme/app", "2"))
    assert await sweeps.requests(built.services, NO_SHOP) == 1
    assert await built.bus.redis.zrange(ACTIONS, 0, -1) == [f"ack:{CONVERSATION}:1".encode()]


async def test_what_waits_is_rung_for_once_its_account_is_linked_though_the_ring_for_it_was_lost(
    built: bootstrap.Built,
) -> None:
    ann, log, accounts = Account("github", "7", "ann"), built.services.log, built.services.accounts
    async with at(built, lambda: time.time() - 2 * sweeps.ANSWERED_WITHIN) as then:
        await ask(then)
    await accounts.link(Account("github", "8", "bob"), "bob")
    await log.append(CONVERSATION, [Draft(Waiting(request=1, account=ann.key))], expected=1)
    assert await sweeps.requests(built.services, NO_SHOP) == 0, "nobody knows her"
    await accounts.link(ann, "ann")
    assert await sweeps.requests(built.services, NO_SHOP) == 1
    assert await built.bus.redis.zrange(ACTIONS, 0, -1) == [f"ack:{CONVERSATION}:1".encode()]
    await log.append(CONVERSATION, [Draft(Waiting(request=1, account=ann.key))], expected=2)
    assert await sweeps.requests(built.services, NO_SHOP) == 0, "the desk has seen that it is not enough"
    await accounts.link(Account("slack", "U1", "ann"), "ann")
    assert await sweeps.requests(built.services, NO_SHOP) == 1, "another account of hers may be what it waits for"


async def test_what_waits_to_know_the_repository_is_not_rung_for(built: bootstrap.Built) -> None:
    await built.services.accounts.link(Account("github", "7", "ann"), "ann")
    async with at(built, lambda: time.time() - 2 * sweeps.ANSWERED_WITHIN) as then:
        await ask(then)
    await built.services.log.append(CONVERSATION, [Draft(Waiting(request=1))], expected=1)
    assert await sweeps.requests(built.services, NO_SHOP) == 0


async def test_a_lease_long_run_out_is_cleared_and_a_younger_one_is_not(built: bootstrap.Built) -> None:
    await ask(built)
    leases = built.services.leases
    await leases.take(CONVERSATION, "late", -sweeps.LEASE_FORGOTTEN / 2)
    await turn(built, "boxes+leases")
    assert await leases.renew(CONVERSATION, "late", -sweeps.LEASE_FORGOTTEN - 1), "its holder was only held up"
    await turn(built, "boxes+leases")
    assert not await leases.renew(CONVERSATION, "late", 30)
    [noted] = [sweep for sweep in await built.services.sweeps.list() if sweep.name == "leases"]
    assert (noted.name, noted.found, noted.total, noted.trouble) == ("leases", 1, 1, "")


async def test_a_lease_that_is_held_is_left_alone(built: bootstrap.Built) -> None:
    await ask(built)
    await built.services.leases.take(CONVERSATION, "worker", 30)
    assert await sweeps.leases(built.services, NO_SHOP) == 0
    assert await built.services.leases.renew(CONVERSATION, "worker", 30)


async def test_a_sweep_that_breaks_down_says_so_and_holds_up_no_other(built: bootstrap.Built) -> None:
    await turn(built, "boxes+leases")  # without a shop there are no boxes to look at
    noted = {sweep.name: sweep.trouble for sweep in await built.services.sweeps.list()}
    assert "AttributeError" in noted["boxes"]
    assert noted["leases"] == ""


async def test_a_sweep_that_cannot_be_noted_holds_up_no_other(
    built: bootstrap.Built, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def locked(*_: Any) -> None:
        raise Unavailable("the database is locked")

    monkeypatch.setattr(built.services.sweeps, "note", locked)
    await turn(built, "boxes+leases")
    said = [record.message for record in caplog.records if record.name == sweeps.__name__]
    assert said[-1] == "what the sweep of leases found cannot be noted: the database is locked"


def test_every_sweep_has_a_turn_of_a_known_length() -> None:
    lengths = {sweep.__name__: sweeps.every(turn) for sweep, turn in sweeps.TURNS}
    assert lengths["requests"] == 10.0
    assert lengths["missed"] == 300.0
    assert lengths["deliveries"] == 3600.0
    assert lengths["leases"] == 60.0


async def test_sweeps_with_the_same_turn_are_one_job_and_each_notes_what_it_found(built: bootstrap.Built) -> None:
    await turn(built, "requests+positions")
    assert {sweep.name for sweep in await built.services.sweeps.list()} == {"requests", "positions"}


class Told(RecordingClient):
    """A platform that tells of one delivery again and again, or does not answer, or fails with what is not after `well`.

    With `failed` it tells that it could not tell of all.
    """

    def __init__(
        self,
        *,
        away: bool = False,
        error: Exception | None = None,
        well: float = math.inf,
        failed: Exception | None = None,
    ) -> None:
        super().__init__()
        self._failed = failed
        self._error = error or (ProviderError("unavailable", "no answer") if away else None)
        self._well = well
        self.since: list[float] = []
        self.put_off = False

    async def catch_up(self, since: float) -> CaughtUp:
        self.since.append(since)
        if self.put_off:
            return CaughtUp(put_off=True)
        if self._error and since <= self._well:
            raise self._error
        asked = Trigger(
            THREAD,
            Account("memory", "7", "ann"),
            Request("work", "fix it"),
            "memory:1",
            "mention",
            Origin("comment", "1"),
        )
        return CaughtUp(read=(Delivery("memory", "d-1", "comment", (asked,)),), failed=self._failed)


async def test_a_platform_that_is_away_hides_nothing_that_others_tell(built: bootstrap.Built) -> None:
    services = replace(built.services, integrations={"away": Told(away=True), "memory": Told()})
    await turn(replace(built, services=services), "missed")
    assert (await built.services.inbox.unanswered(older_than=0))[0][0] == CONVERSATION
    assert "no answer" in (await findings(built, time.time()))["sweep missed"].detail


async def test_what_a_platform_tells_in_part_is_taken_and_the_same_time_is_looked_through_again(
    built: bootstrap.Built,
) -> None:
    now, hours = time.time(), 3600.0
    partly = Told(failed=ProviderError("unavailable", "one project did not answer"))
    for moment in (now - 5 * hours, now - 4 * hours, now):
        async with at(built, lambda moment=moment: moment) as then:  # type: ignore[misc]
            await turn(replace(then, services=replace(then.services, integrations={"memory": partly})), "missed")
    assert partly.since[2] == pytest.approx(now - 5 * hours, abs=15 * 60)
    assert (await built.services.inbox.unanswered(older_than=0))[0][0] == CONVERSATION
    assert "one project did not answer" in (await findings(built, now))["sweep missed"].detail


async def test_a_platform_with_an_error_of_ours_hides_nothing_that_others_tell(built: bootstrap.Built) -> None:
    broken = Told(error=KeyError("a fault of ours"))
    services = replace(built.services, integrations={"broken": broken, "memory": Told()})
    await turn(replace(built, services=services), "missed")
    assert (await built.services.inbox.unanswered(older_than=0))[0][0] == CONVERSATION
    assert "a fault of ours" in (await findings(built, time.time()))["sweep missed"].detail


async def test_what_fails_for_ever_is_let_go_of_after_three_days(built: bootstrap.Built) -> None:
    now, days = time.time(), 86_400.0
    stuck = Told(away=True, well=now + 60)  # a delivery of this minute is never sent again
    for later in (0.0, 1.0, 2.9, 3.1, 3.2):
        async with at(built, lambda later=later: now + later * days) as then:  # type: ignore[misc]
            await turn(replace(then, services=replace(then.services, integrations={"memory": stuck})), "missed")
    assert stuck.since[2] == pytest.approx(now, abs=15 * 60)
    assert stuck.since[4] == pytest.approx(now + 3.1 * days, abs=15 * 60), "the look moves on"


async def test_what_is_told_again_is_found_once(built: bootstrap.Built) -> None:
    services = replace(built.services, integrations={"memory": Told()})
    assert [await sweeps.missed(services, NO_SHOP) for _ in range(2)] == [1, 0]


async def test_what_was_said_before_the_first_look_is_left_alone(built: bootstrap.Built) -> None:
    told, minutes = Told(), 60.0
    services = replace(built.services, integrations={"memory": told})
    await turn(replace(built, services=services), "missed")
    assert time.time() - told.since[0] < 15 * minutes


async def test_a_look_begins_where_the_last_good_one_at_that_platform_ended(built: bootstrap.Built) -> None:
    now, hours = time.time(), 3600.0
    there, away = Told(), Told(away=True)
    for moment in (now - 5 * hours, now - 4 * hours, now):
        async with at(built, lambda moment=moment: moment) as then:  # type: ignore[misc]
            services = replace(then.services, integrations={"there": there, "away": away})
            await turn(replace(then, services=services), "missed")
    assert there.since[2] == pytest.approx(now - 4 * hours, abs=15 * 60)
    assert away.since[2] == pytest.approx(now - 5 * hours, abs=15 * 60), "nothing was heard since the beginning"


async def test_a_look_that_was_put_off_is_made_up_for_by_the_next(built: bootstrap.Built) -> None:
    now, minutes, told = time.time(), 60.0, Told()
    for moment in (now - 20 * minutes, now - 15 * minutes, now - 10 * minutes, now - 5 * minutes, now):
        told.put_off = now - 20 * minutes < moment < now
        async with at(built, lambda moment=moment: moment) as then:  # type: ignore[misc]
            await turn(replace(then, services=replace(then.services, integrations={"memory": told})), "missed")
    assert told.since[1:] == [told.since[1]] * 4


async def test_a_look_that_was_noted_in_the_future_hides_nothing(built: bootstrap.Built) -> None:
    told = Told()
    for ahead in (3600, 0):
        async with at(built, lambda ahead=ahead: time.time() + ahead) as then:  # type: ignore[misc]
            await turn(replace(then, services=replace(then.services, integrations={"memory": told})), "missed")
    assert told.since[1] < time.time()


async def findings(built: bootstrap.Built, now: float) -> dict[str, doctor.Finding]:
    found = doctor.of_sweeps(await built.services.sweeps.list(), now)
    return {finding.check: finding for finding in found}


async def test_doctor_says_what_each_sweep_did_and_what_could_not_finish(built: bootstrap.Built) -> None:
    for name in ("requests", "leases"):
        await built.services.sweeps.note(name, 2)
    await built.services.sweeps.note("boxes", 0, "SandboxError: no engine")
    found = await findings(built, time.time())
    assert found["worker"].ok
    assert found["sweep leases"].ok
    assert "found 2, 2 in all" in found["sweep leases"].detail
    assert "leases that killed workers left" in found["sweep leases"].detail
    assert not found["sweep boxes"].ok
    assert "no engine" in found["sweep boxes"].detail
    assert found["sweep missed"].ok, "its first turn is still to come"


async def test_doctor_says_in_words_what_every_sweep_finds(built: bootstrap.Built) -> None:
    names = [sweep.__name__ for sweep, _ in sweeps.TURNS]
    for name in names:
        await built.services.sweeps.note(name, 1)
    found = await findings(built, time.time())
    said = {found[f"sweep {name}"].detail.partition("1 in all (")[2] for name in names}
    assert len(said - {""}) == len(names), "each its own"


async def test_doctor_misses_a_worker_that_has_not_swept_for_long(built: bootstrap.Built) -> None:
    assert not (await findings(built, time.time()))["worker"].ok
    await built.services.sweeps.note("requests", 0)
    found = await findings(built, time.time() + 7200)
    assert not found["worker"].ok
    assert "2 hours ago" in found["worker"].detail
    assert found["sweep requests"].ok, "the worker is what is missing"


async def test_doctor_names_a_time_that_lies_in_the_future(built: bootstrap.Built) -> None:
    async with at(built, lambda: time.time() + 7200) as then:
        await then.services.sweeps.note("requests", 0)
        await then.services.sweeps.note("mirrors", 0)
    found = await findings(built, time.time())
    assert not found["worker"].ok
    assert not found["sweep requests"].ok
    assert "in the future" in found["sweep requests"].detail
    assert "timedatectl" in found["sweep requests"].detail
    await built.services.sweeps.note("requests", 0)
    found = await findings(built, time.time())
    assert found["worker"].ok, "a worker sweeps, whatever the clock was before"
    assert found["sweep requests"].ok
    assert not found["sweep mirrors"].ok
