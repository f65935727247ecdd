"""After the storm: is anything lost, doubled or without an ending? Read from GitHub, the log, the boxes and Redis."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bot import bootstrap, config
from bot.bootstrap import Built
from bot.bus import HEAD_START_MS, RUNS
from bot.core.conversation import State, fold
from bot.core.events import Asked, Closed, Event, Landed, ModelReply, RunStarted
from tests.chaos.ground import PEOPLE, REPOSITORIES, Ground
from tests.chaos.storm import Kill

SWEPT_WITHIN = 90.0
"""Seconds in which the sweep, which comes once a minute, has to find boxes that were left over."""

DUE_WITHIN = 16.0
"""Seconds after which no job is left: one waits for a lease (6), for the worker's next look (5), and runs."""

_ENDED = re.compile(r"\*\*(Done|I did not start|Stopped|I reached a limit|I could not finish this)")
_MARK = re.compile(r"<!-- onhand:(\S+) -->")


@dataclass
class Verdict:
    """What was found, in the words of the table."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    endless: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """Boxes and jobs that nobody cleared away."""
    requests: int = 0
    runs: int = 0
    resumed: int = 0
    replies: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    takeovers: list[float] = field(default_factory=list)
    """Seconds from the kill of a worker until each of its runs went on."""
    disturbed: list[float] = field(default_factory=list)
    """Those of them during which another kill fell."""

    @property
    def good(self) -> bool:
        return not (self.lost or self.doubled or self.endless or self.left_over)


async def judge(ground: Ground, kills: Sequence[Kill]) -> Verdict:
    """Look at everything once all is calm."""
    verdict = Verdict()
    async with bootstrap.build(config.load(ground.environment)) as built:
        asked = set[tuple[str, str]]()
        for record in await built.services.conversations.list(1000):
            events = await built.services.log.read(record.id)
            asked |= set(_of_log(verdict, record.thread, events))
            await asyncio.to_thread(_of_branch, verdict, ground, record.thread, events)
            _of_takeovers(verdict, events, kills)
        verdict.lost += [
            f"{thread}: nobody heard {what}" for thread, what in _mentions(ground) if (thread, what) not in asked
        ]
        _of_github(verdict, ground)
        await _of_redis(verdict, built)
    await _of_boxes(verdict, ground)
    return verdict


def _mentions(ground: Ground) -> Iterator[tuple[str, str]]:
    """Yield (thread, origin) of all that people said to the bot."""
    for name in REPOSITORIES:
        for item in ground.github.state.repositories[name].items.values():
            thread = f"github:{name}#{item.number}"
            if item.author.login in PEOPLE:
                yield thread, f"issue:{item.number}"
            for remark in ground.github.comments(name, item.number):
                if remark.author.login in PEOPLE:
                    yield thread, f"comment:{remark.id}"


def _of_log(verdict: Verdict, thread: str, events: Sequence[Event]) -> Iterator[tuple[str, str]]:
    """Check one conversation's log; yield what was asked in it."""
    origins = [f"{e.fact.trigger.origin.kind}:{e.fact.trigger.origin.id}" for e in events if isinstance(e.fact, Asked)]
    closed = Counter(seq for e in events if isinstance(e.fact, Closed) for seq in e.fact.requests)
    state = fold(events)
    replies = [_index(e.fact) for e in events if isinstance(e.fact, ModelReply)]
    started = [e.fact for e in events if isinstance(e.fact, RunStarted)]
    runs_of = Counter(seq for run, seqs in {s.run: s.requests for s in started}.items() for seq in seqs if run)
    verdict.doubled += [f"{thread}: {what} was taken twice" for what in _repeated(origins)]
    verdict.doubled += [f"{thread}: request {seq} closed {n} times" for seq, n in closed.items() if n > 1]
    verdict.doubled += [f"{thread}: request {seq} in {n} runs" for seq, n in runs_of.items() if n > 1]
    verdict.doubled += [f"{thread}: model step {index} paid twice" for index in _repeated(replies)]
    verdict.endless += [f"{thread}: request {r.seq} is {r.phase}" for r in state.open()]
    verdict.endless += [f"{thread}: request {seq} has no visible ending" for seq in _unseen(events, state)]
    verdict.requests += len(origins)
    verdict.runs += len({s.run for s in started})
    verdict.resumed += sum(s.resumed for s in started)
    verdict.replies += len(replies)
    verdict.endings.update(r.ending for r in state.requests.values())
    for origin in origins:
        yield thread, origin


def _index(reply: ModelReply) -> str:
    """Which step of the script it is: the stand-in numbers its calls by the answers in the prompt."""
    return reply.calls[0]["id"] if reply.calls else "without calls"


def _unseen(events: Sequence[Event], state: State) -> Iterator[int]:
    """Yield the requests that neither have a message of their own nor were closed with one that has."""
    shown = {
        int(t.partition(":")[2]) for t, r in state.topics.items() if r and t.partition(":")[0] in ("status", "reply")
    }
    for event in events:
        if isinstance(event.fact, Closed) and not shown & set(event.fact.requests):
            yield from event.fact.requests


def _of_branch(verdict: Verdict, ground: Ground, thread: str, events: Sequence[Event]) -> None:
    """Check that a branch has exactly the commits whose push the log notes, once each, and one pull request."""
    name = thread.partition(":")[2].partition("#")[0]
    state = fold(events)
    pushed = [event.fact.change.commit for event in events if isinstance(event.fact, Landed) and event.fact.branch]
    commits: list[str] = []
    if state.branch in ground.github.git.branches(name):
        commits = ground.github.git.git(name, "log", "--format=%H%x00%s", state.branch, "^main").decode().splitlines()
    verdict.lost += [
        f"{thread}: pushed {c} is not on {state.branch}" for c in pushed if c not in {_id(x) for x in commits}
    ]
    verdict.doubled += [f"{thread}: commit {c!r}" for c in _repeated(commit.partition("\0")[2] for commit in commits)]
    verdict.doubled += [f"{thread}: {_id(c)} was pushed without a note" for c in commits if _id(c) not in pushed]
    pulls = [p for p in ground.github.pulls(name) if p.pull and p.pull.head == state.branch]
    if len(pulls) != bool(pushed):
        (verdict.doubled if len(pulls) > 1 else verdict.lost).append(f"{thread}: {len(pulls)} pull requests")


def _id(commit: str) -> str:
    return commit.partition("\0")[0]


def _of_github(verdict: Verdict, ground: Ground) -> None:
    """Check that every message of ours stands there once and tells an ending."""
    for name in REPOSITORIES:
        for item in ground.github.state.repositories[name].items.values():
            said = [r.body or "" for r in ground.github.comments(name, item.number) if r.author.login not in PEOPLE]
            topics = [_MARK.findall(text)[0] for text in said]
            where = f"github:{name}#{item.number}"
            verdict.doubled += [f"{where}: {topic} was said twice" for topic in _repeated(topics)]
            for topic, text in zip(topics, said, strict=True):
                if topic.startswith("status:") and not _ENDED.search(text):
                    verdict.endless.append(f"{where}: {topic} still says {text[:80]!r}")


def _of_takeovers(verdict: Verdict, events: Sequence[Event], kills: Sequence[Kill]) -> None:
    for kill in kills:
        if kill.what != "worker" or not (taken := _taken_at(events, kill)):
            continue
        verdict.takeovers.append(taken - kill.at)
        if any(kill.at < other.at < taken for other in kills):
            verdict.disturbed.append(taken - kill.at)


def _taken_at(events: Sequence[Event], kill: Kill) -> float:
    """Return when the run that the killed worker held went on; 0.0 if it held none here."""
    before = [e for e in events if e.at <= kill.at and isinstance(e.fact, RunStarted | Closed)]
    last = before[-1].fact if before else None
    if not isinstance(last, RunStarted) or f"-{kill.pid}/" not in last.holder:
        return 0.0
    return next((e.at for e in events if e.at > kill.at and isinstance(e.fact, RunStarted)), 0.0)


async def _of_redis(verdict: Verdict, built: Built) -> None:
    for _ in range(int(DUE_WITHIN / 0.1)):
        waiting = await built.bus.redis.zcard(RUNS)
        held = [key async for key in built.bus.redis.scan_iter("arq:in-progress:run:*")]
        if not waiting and not held:
            return
        await asyncio.sleep(0.1)
    line = await built.bus.redis.zrange(RUNS, 0, -1, withscores=True)
    times = [(name.decode(), at + HEAD_START_MS if at < 0 else at) for name, at in line]
    due = ", ".join(f"{name} due in {at / 1000 - time.time():.1f} s" for name, at in times)
    verdict.left_over.append(f"{waiting} runs in the queue, {len(held)} claims: {due}")


async def _of_boxes(verdict: Verdict, ground: Ground) -> None:
    """Wait for the sweep."""
    sandboxes = bootstrap.open_sandboxes(config.load(ground.environment))
    try:
        async with asyncio.timeout(SWEPT_WITHIN):
            while await sandboxes.list():
                await asyncio.sleep(0.5)
    except TimeoutError:
        verdict.left_over += [f"box {state} {dict(labels)}" for state, labels in await sandboxes.list()]
    finally:
        await sandboxes.close()


def _repeated(found: Iterable[str]) -> list[str]:
    return [what for what, count in Counter(found).items() if count > 1]
