"""The contract that every provider keeps, and a provider that only remembers.

    assert check_integration(MyChat(settings, Us()), read_payloads(folder), TRIGGERS, {"message"}) == []

`check_integration` is for a stranger's package as much as for ours: run it in a test, over recorded payloads.
"""

import inspect
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, get_args

import msgspec
from msgspec import Struct

from bot.core.errors import ProviderError, Rejected
from bot.core.inbound import Account, Delivery, Inbound, Message, Repository, Thread, Trigger, Verified
from bot.core.outbound import Call, Change, Ending, OpenChange, Outcome, React, Receipt, Say, SetCheck, Status, Task
from bot.core.platform import Platform
from bot.core.ports import CaughtUp, Forge, Integration, Proposal, Source, as_sent
from bot.core.secret import Secret
from bot.core.wording import lasting

NOW = 1_700_000_000.0

HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "cut short": b'{"action": "created", "comment": {"id": 1, "body": "@onh',
    "no JSON": b"<html>",
    "bad UTF-8": b'{"action": "created", "comment": {"body": "\xff\xfe\xed\xa0\x80"}}',
    "deep brackets": b'{"action": "created", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"action": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a huge number": b'{"action": "created", "comment": {"id": ' + b"9" * 100_000 + b"}}",
    "a huge exponent": b'{"action": "created", "comment": {"id": 1e999999999}}',
    "wrong types": b'{"action": 7, "comment": [], "issue": "x", "repository": 1, "sender": true, "data": 5}',
    "NUL": b'{"action": "created\\u0000", "comment": {"id": 1, "body": "\\u0000@onhand"}}',
    "a lone surrogate": b'{"action": "created", "comment": {"id": 1, "body": "\\ud800 @onhand"}}',
    "NaN": b'{"action": NaN}',
    "a long string": b'{"action": "' + b"a" * 1_000_000 + b'"}',
}
"""Bodies that a correct signature does not make any better, by what is wrong with them."""

ENDINGS: tuple[Status, ...] = (
    Status("queued", run_id="run-1"),
    Status("queued", run_id="run-1", ahead=3),
    Status("asking", question="Which repository do you mean?", choices=("github:octo/hello", "github:octo/world")),
    Status("running", run_id="run-1", tasks=(Task("look"), Task("mend", "in_progress")), step="make test", steps=3),
    *(
        Status("ended", run_id="run-1", outcome=Outcome(ending, "reason", "What came of it."))
        for ending in get_args(Ending)
    ),
)
"""Every state in which a request can be shown."""


class Payload(Struct, frozen=True):
    """One recorded delivery: its body, the event it came as, and the case's name."""

    name: str
    event: str
    body: bytes


def read_payloads(folder: Path) -> list[Payload]:
    """Read files named `<event>.<action>__<case>.json`, or `<event>__<case>.json` where events have no actions."""
    return [
        Payload(f.stem, f.stem.partition("__")[0].partition(".")[0], f.read_bytes())
        for f in sorted(folder.glob("*.json"))
    ]


def signed(integration: Integration, body: bytes, event: str, delivery_id: str = "d-1", now: float = NOW) -> Inbound:
    """Return a request as the platform itself would send it."""
    return as_sent(integration, body, event, delivery_id, now)


def check_integration(
    integration: Integration, payloads: Iterable[Payload], rows: Iterable[tuple[str, str]], events: Iterable[str]
) -> list[str]:
    """Return a sentence for every way in which an integration breaks the contract; none means that it keeps it.

    `rows` are the (event, action) pairs of its table of triggers: each must have a payload that asks for something.
    `events` are the names under which hostile bodies are tried. Pure: nothing is sent anywhere.
    """
    recorded = list(payloads)
    if missing := _missing(integration):
        return missing
    return [
        *(problem for payload in recorded for problem in _verification_problems(integration, payload)),
        *_row_problems(integration, recorded, rows),
        *(problem for payload in recorded for problem in _trigger_problems(integration, payload)),
        *(problem for event in events for problem in _hostile_problems(integration, event)),
        *_rendering_problems(integration, recorded),
    ]


def _missing(integration: Integration) -> list[str]:
    """Name what a port has and the integration lacks: of a Forge that lacks a part nobody would say why it is none."""
    wanted, of_a_forge = _members(Integration), _members(Forge)
    if any(hasattr(integration, name) for name in of_a_forge):
        wanted |= of_a_forge
    return [f"{name} of the port is missing" for name in sorted(wanted) if not hasattr(integration, name)]


def _members(port: type) -> set[str]:
    return {name for name in {*vars(port), *inspect.get_annotations(port)} if not name.startswith("_")}


def _verification_problems(integration: Integration, payload: Payload) -> list[str]:
    good = signed(integration, payload.body, payload.event)
    problems = []
    if problem := _refused(integration, good):
        problems.append(f"{payload.name}: what `sign` signed was {problem}")
    forged = {
        "a changed body": Inbound(good.headers, good.body + b" "),
        "no headers": Inbound({}, good.body),
        "headers that are no ASCII": Inbound(dict.fromkeys(good.headers, "sha256=\u00e9\ud800"), good.body),
        "headers of another body": Inbound(signed(integration, b"{}", payload.event).headers, good.body),
    }
    for name, inbound in forged.items():
        problem = _refused(integration, inbound)
        if not problem.startswith("refused"):
            problems.append(f"{payload.name}: {name} {problem or 'got through'}")
    return problems


def _refused(integration: Integration, inbound: Inbound) -> str:
    try:
        integration.verify(inbound, NOW)
    except Rejected as rejected:
        return f"refused ({rejected})"
    except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
        return f"raised {type(error).__name__}: {error}"
    return ""


def _row_problems(integration: Integration, payloads: Sequence[Payload], rows: Iterable[tuple[str, str]]) -> list[str]:
    asked = set()
    problems = []
    for payload in payloads:
        delivery = _parsed(integration, signed(integration, payload.body, payload.event))
        if isinstance(delivery, str):
            problems.append(f"{payload.name}: {delivery}")
        elif delivery.triggers:
            asked.add(delivery.event)
        elif not delivery.ignored:
            problems.append(f"{payload.name}: it asks for nothing, and does not say why")
    wanted = {".".join(part for part in row if part) for row in rows}
    shown = f"; `Delivery.event` of those that ask for something is {', '.join(sorted(asked)) or 'nowhere to be seen'}"
    return problems + [f"no payload shows a trigger for {row}{shown}" for row in sorted(wanted - asked)]


def _trigger_problems(integration: Integration, payload: Payload) -> list[str]:
    """Check the names in a trigger, and that the same thing under another id of the delivery is the same wish."""
    first, again = (
        _parsed(integration, signed(integration, payload.body, payload.event, name)) for name in ("d-1", "d-2")
    )
    if isinstance(first, str) or isinstance(again, str):
        return []
    problems = []
    services = {first.service, *(t.thread.service for t in first.triggers), *(t.actor.service for t in first.triggers)}
    if services != {integration.name}:
        problems.append(f"{payload.name}: every `service` should be {integration.name!r}, found {sorted(services)}")
    wishes, others = ([t.meaning for t in d.triggers if t.by != "button"] for d in (first, again))
    if wishes != others:
        problems.append(f"{payload.name}: `meaning` changes with the id of the delivery, so a redelivery is a new wish")
    return problems


def _hostile_problems(integration: Integration, event: str) -> list[str]:
    problems = []
    for name, body in HOSTILE.items():
        delivery = _parsed(integration, signed(integration, body, event))
        if isinstance(delivery, Delivery) and delivery.triggers:
            problems.append(f"{event} with {name}: asked for work")
        elif isinstance(delivery, str) and not delivery.startswith("refused"):
            problems.append(f"{event} with {name}: {delivery}")
    return problems


def _parsed(integration: Integration, inbound: Inbound) -> Delivery | str:
    try:
        return integration.parse(integration.verify(inbound, NOW))
    except Rejected as rejected:
        return f"refused ({rejected})"
    except Exception as error:  # noqa: BLE001  # whatever it raises is the finding
        return f"raised {type(error).__name__}: {error}"


def _rendering_problems(integration: Integration, payloads: Sequence[Payload]) -> list[str]:
    deliveries = (_parsed(integration, signed(integration, p.body, p.event)) for p in payloads)
    trigger = next((d.triggers[0] for d in deliveries if isinstance(d, Delivery) and d.triggers), None)
    if trigger is None:
        return [f"none of {len(payloads)} payloads asks for anything, so nothing could be rendered"]
    problems = _proposing_problems(integration, trigger) if isinstance(integration, Forge) else []
    for status in ENDINGS:
        calls = integration.render(trigger, status, "status:1")
        said = [call for call in calls if isinstance(call, Say)]
        name = status.outcome.ending if status.outcome else status.state
        if not calls or any(not call.topic.startswith("status:1") for call in calls):
            problems.append(f"{name}: no call under the topic")
        if any(not call.text.strip() for call in said):
            problems.append(f"{name}: an empty message")
    return problems


def _proposing_problems(integration: Integration, trigger: Trigger) -> list[str]:
    repository = trigger.repository or Repository(integration.name, trigger.thread.place)
    proposal = Proposal(
        topic="change:onhand/1-x",
        thread=trigger.thread,
        source=Source(repository, "https://forge.example/x.git", "main"),
        branch="onhand/1-x",
        change=Change("c" * 40, "b" * 40, subjects=("Mend it",)),
        title="Mend it",
        summary="What was done.",
        requested_by=trigger.actor.login,
        request_url=trigger.url,
        run_id="run-1",
    )
    calls = integration.propose(proposal)
    return [] if calls and calls[-1].topic == proposal.topic else ["propose: the last call has another topic"]


class RecordingClient(Platform):
    """A provider in memory: what it is told to do is in `calls`, what it was said to fail at fails.

    Its deliveries are Delivery structs as JSON. `writers` are the logins that may write. A failure that was planned and
    never met is in `failures` at the end; a call of a kind that it does not know is refused.
    """

    name: ClassVar[str] = "memory"

    class Settings(Struct, frozen=True):
        """It has none."""

    def __init__(self, writers: Iterable[str] = ("alice", "bot"), repository_url: str = "") -> None:
        super().__init__(self.Settings(), None, Secret("token-of-the-bot"))
        self.calls: list[Call] = []
        """Every call that was carried out, in order."""
        self.messages: dict[str, str] = {}
        """What now stands at the provider, by topic."""
        self.failures: list[tuple[type[Call], ProviderError, bool]] = []
        self.others: tuple[str, ...] = ()
        """The changes that others have open for whatever is asked."""
        self.writers, self._url = set(writers), repository_url
        self._receipts: dict[tuple[str, str], Receipt] = {}

    def fail(self, kind: type[Call], error: ProviderError, *, after: bool = False) -> None:
        """Let the next call of this kind fail; with `after`, when it is done and only its answer is lost."""
        self.failures.append((kind, error, after))

    async def check(self) -> str:
        return "acts as bot"

    async def catch_up(self, since: float) -> CaughtUp:
        return CaughtUp()

    async def close(self) -> None:
        """There is no connection."""

    @property
    def receives(self) -> bool:
        return True

    def verify(self, inbound: Inbound, now: float) -> Verified:
        if inbound.headers.get("x-memory") != "signed":
            raise Rejected("signature", "expected the header x-memory", 401)
        return Verified(inbound.headers, inbound.body)

    def parse(self, verified: Verified) -> Delivery:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(verified.body, type=Delivery)
        raise Rejected("body", "expected a Delivery as JSON")

    def sign(self, body: bytes, event: str, delivery_id: str, now: float) -> dict[str, str]:
        return {"x-memory": "signed"}

    def render(self, trigger: Trigger, status: Status, topic: str) -> list[Call]:
        ending = f" {status.outcome.ending}: {status.outcome.text}" if status.outcome else ""
        state = f"{status.state} after {status.ahead}" if status.ahead else status.state
        state += lasting(status)
        said = [(topic, f"{state}{ending} {status.change_url}".strip()), (f"{topic}:patch", status.patch)]
        thread, beneath = trigger.thread, trigger.origin.thread_id
        calls: list[Call] = [Say(topic=name, thread=thread, text=text, beneath=beneath) for name, text in said if text]
        shown = outcome.ending if (outcome := status.outcome) else None
        return calls + [
            SetCheck(topic=f"{topic}:check:{c}", thread=thread, commit=c, title=state, text="", ending=shown)
            for c in status.commits
        ]

    def propose(self, proposal: Proposal) -> list[Call]:
        return [
            OpenChange(
                topic=proposal.topic,
                thread=proposal.thread,
                repository=proposal.source.repository,
                head=proposal.branch,
                base=proposal.source.base,
                title=proposal.title,
                body=proposal.summary,
                draft=proposal.draft,
            )
        ]

    async def perform(self, call: Call, receipt: Receipt | None, token: Secret) -> Receipt:
        if not isinstance(call, React | Say | OpenChange | SetCheck):
            raise ProviderError("invalid", f"the script ends here: {type(call).__name__} is not known")
        planned = next((f for f in self.failures if isinstance(call, f[0])), None)
        if planned:
            self.failures.remove(planned)
        if planned and not planned[2]:
            raise planned[1]
        done = self._carry_out(call, receipt)
        if planned:
            raise planned[1]
        return done

    def _carry_out(self, call: React | Say | OpenChange | SetCheck, receipt: Receipt | None) -> Receipt:
        self.calls.append(call)
        self.messages[call.topic] = call.emoji if isinstance(call, React) else getattr(call, "text", "") or call.topic
        done = receipt or Receipt(str(len(self.calls)), f"memory://{call.thread.key}/{len(self.calls)}")
        return self._receipts.setdefault((call.thread.key, call.topic), done)

    async def find(self, call: Call, token: Secret) -> Receipt | None:
        return self._receipts.get((call.thread.key, call.topic))

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        return True

    async def context(self, trigger: Trigger, token: Secret) -> Sequence[Message]:
        return ()

    async def may_write(self, repository: Repository, account: Account | None, token: Secret) -> bool:
        return account is None or account.login in self.writers

    async def repositories(self, query: str, token: Secret) -> Sequence[Repository]:
        return [Repository(self.name, "acme/app")] if query in "acme/app" else []

    def repository_at(self, address: str) -> Repository | None:
        name = address.removeprefix("https://memory.example/")
        return Repository(self.name, name) if name != address else None

    async def owner(self, token: Secret) -> Account:
        return Account(self.name, "1", "bot")

    async def account(self, login: str, token: Secret) -> Account:
        return Account(self.name, login, login)

    async def rivals(self, thread: Thread, token: Secret) -> Sequence[str]:
        return self.others

    def author(self, account: Account) -> str:
        return f"{account.login} <{account.login}@example.com>"

    async def source(self, repository: Repository, number: str, token: Secret) -> Source:
        """Describe it; a change that was made here is open."""
        opened = (call for call in self.calls if isinstance(call, OpenChange))
        heads = {self._receipts[call.thread.key, call.topic].id: call.head for call in opened}
        return Source(repository, self._url, "main", head=heads.get(number, ""))
