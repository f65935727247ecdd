"""Where the code lives that a request of a chat or a ticket is about, and who is asked for what when it is not known."""

from typing import Any

import pytest
from msgspec import structs

from bot.auth.multi_user import MultiUser
from bot.core.conversation import State, conversation_id, fold
from bot.core.errors import ProviderError, Refused, Unclear
from bot.core.events import Admitted, RunStarted
from bot.core.inbound import Account, Delivery, Origin, Repository, Thread
from bot.core.outbound import Say
from bot.core.ports import AuthContext
from bot.core.secret import Secret
from bot.flows import desk, intake, whereabouts, work
from bot.testing.integrations import RecordingClient
from tests.flows.conftest import Forge, Killed, World

CHAT = Thread("chat", "T1/C1", "100.1")
TALK = conversation_id(CHAT)


class Chat(RecordingClient):
    """A platform without code."""

    name = "chat"
    source = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.guests: set[str] = set()

    async def may_ask(self, thread: Thread, account: Account, token: Secret) -> bool:
        return account.login not in self.guests


def without_code(chat: Chat) -> Any:
    """Return the platform without the methods of a forge."""
    forge = {"may_write", "repositories", "repository_at", "source", "author"}

    class Only:
        def __getattr__(self, name: str) -> Any:
            if name in forge:
                raise AttributeError(name)
            return getattr(chat, name)

    return Only()


@pytest.fixture
def chat(world: World) -> Chat:
    chat = Chat()
    world.use(integrations={"chat": without_code(chat), "memory": world.forge})
    return chat


async def ask(world: World, text: str = "@onhand fix it", **more: Any) -> int:
    actor = Account("chat", more.pop("who", "T1:U1"), "alice")
    seq = await world.ask(text, **{"thread": CHAT, "actor": actor, "repository": None, "title": "", **more})
    await desk.acknowledge(world.services, TALK, seq)
    return seq


async def phases(world: World) -> list[str]:
    return [r.phase for r in fold(await world.store.log.read(TALK)).requests.values()]


def nobody_knows(forge: Forge) -> None:
    async def none(query: str, token: Secret) -> list[Repository]:
        return [Repository("memory", "acme/app"), Repository("memory", "acme/web")]

    forge.repositories = none  # type: ignore[method-assign]


async def test_without_a_hint_it_asks_once_and_goes_on_with_the_answer(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    first = await ask(world)
    assert await phases(world) == ["waiting"]
    assert chat.messages[f"status:{first}"].startswith("asking")
    await desk.acknowledge(world.services, TALK, first)
    assert len([c for c in chat.calls if isinstance(c, Say)]) == 1
    await ask(world, "@onhand acme/app")
    assert (TALK, first) in world.bus.runs
    assert await phases(world) == ["admitted", "admitted"]
    await work.run(world.services, world.shop, TALK, "w/1")
    assert await phases(world) == ["closed", "closed"]
    assert chat.messages[f"status:{first}"].startswith("ended finished")
    assert any(topic.startswith("change:") for topic in world.forge.messages), "the change is at the forge"


async def test_all_that_wait_go_on_with_one_answer(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    for _ in range(3):
        await ask(world)
    assert await phases(world) == ["waiting"] * 3
    await ask(world, "@onhand acme/app")
    assert await phases(world) == ["admitted"] * 4


async def test_a_choice_in_a_picker_answers_as_well(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    first = await ask(world)
    await ask(world, "@onhand", by="button", repository=Repository("memory", "acme/web"))
    assert (TALK, first) in world.bus.runs
    assert await phases(world) == ["admitted", "admitted"]


PICK: dict[str, Any] = {"text": "@onhand", "by": "button", "repository": Repository("memory", "acme/web")}


@pytest.mark.parametrize("answer", [PICK, {"text": "@onhand repo=acme/web"}, {"text": "@onhand acme/web"}])
async def test_an_answer_whose_worker_is_killed_once_it_woke_what_waits_makes_no_second_run(
    world: World, chat: Chat, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    nobody_knows(world.forge)
    first = await ask(world)
    append = world.store.log.append

    async def append_or_die(conversation_id: str, drafts: Any, *, expected: int) -> Any:
        if any(isinstance(draft.fact, Admitted) and draft.fact.request != first for draft in drafts):
            raise Killed
        return await append(conversation_id, drafts, expected=expected)

    monkeypatch.setattr(world.store.log, "append", append_or_die)
    with pytest.raises(Killed):
        await ask(world, **answer)
    monkeypatch.undo()
    assert await phases(world) == ["admitted", "asked"]
    await work.run(world.services, world.shop, TALK, "w/1")
    assert await phases(world) == ["closed", "asked"]
    said = dict(chat.messages)
    await desk.acknowledge(world.services, *world.bus.acknowledged[-1])
    await work.run(world.services, world.shop, TALK, "w/2")
    events = await world.store.log.read(TALK)
    assert await phases(world) == ["closed", "closed"]
    assert len([event for event in events if isinstance(event.fact, RunStarted)]) == 1
    assert {topic: text for topic, text in chat.messages.items() if not topic.startswith("react:")} == {
        topic: text for topic, text in said.items() if not topic.startswith("react:")
    }


async def test_an_answer_in_another_place_of_the_thread_is_told_there_how_it_ended(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    first = await ask(world, origin=Origin("comment", "1", thread_id="1"))
    answer = await ask(world, "@onhand repo=acme/web", origin=Origin("comment", "2", thread_id="2"))
    await work.run(world.services, world.shop, TALK, "w/1")
    assert await phases(world) == ["closed", "closed"]
    assert chat.messages[f"status:{first}"].startswith("ended finished")
    assert chat.messages[f"status:{answer}"].startswith("ended finished")


async def test_who_chooses_for_somebody_without_the_right_has_it_done(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    await ask(world)
    chat.guests.add("alice")
    await ask(world, **PICK, actor=Account("chat", "T1:U2", "bob"))
    assert await phases(world) == ["closed", "admitted"], "alice may not any more"
    await work.run(world.services, world.shop, TALK, "w/1")
    assert await phases(world) == ["closed", "closed"]
    assert any(topic.startswith("change:") for topic in world.forge.messages)


async def late(world: World) -> list[str]:
    """Let a worker come; return how the requests ended."""
    await work.run(world.services, world.shop, TALK, f"w/{world.ids}")
    return [r.ending for r in fold(await world.store.log.read(TALK)).requests.values()]


@pytest.mark.parametrize("answer", [PICK, {"text": "@onhand acme/web", "by": "follow_up"}])
async def test_a_stop_closes_the_question_and_who_answers_it_later_is_told(
    world: World, chat: Chat, answer: dict[str, Any]
) -> None:
    nobody_knows(world.forge)
    asked = await ask(world)
    stop = await ask(world, "@onhand stop")
    assert (TALK, stop) in world.bus.runs
    assert await late(world) == ["stopped", "stopped"]
    assert chat.messages[f"status:{asked}"].startswith("ended stopped")
    assert f"reply:{stop}" not in chat.messages, "that message says it"
    runs = len(world.bus.runs)
    await ask(world, **answer)
    assert await late(world) == ["stopped", "stopped", "refused"]
    assert len(world.bus.runs) == runs
    assert [text for topic, text in chat.messages.items() if topic.startswith("stopped:")] == [desk._STOPPED]
    await ask(world, "@onhand fix it repo=acme/web")
    assert (await late(world))[-1] == "finished"


async def test_each_late_answer_is_told(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    for _ in range(2):
        await ask(world)
        await ask(world, "@onhand stop", actor=Account("chat", "T1:U2", "bob"))
        await late(world)
        await ask(world, "@onhand acme/web", by="follow_up")
    assert await late(world) == ["stopped", "stopped", "refused"] * 2
    assert [text for topic, text in chat.messages.items() if topic.startswith("stopped:")] == [desk._STOPPED] * 2


async def test_who_calls_us_anew_after_a_stop_has_it_done(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    for text in ("@onhand fix it", "@onhand stop", "@onhand repo=acme/web"):
        await ask(world, text)
        ended = await late(world)
    assert ended == ["stopped", "stopped", "finished"]


async def test_a_stop_leaves_a_question_that_came_after_it(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    await ask(world)
    stop = await world.ask("@onhand stop", thread=CHAT, repository=None, title="")
    await ask(world, "@onhand and that")
    await desk.acknowledge(world.services, TALK, stop)
    assert await late(world) == ["stopped", "stopped", ""]
    assert await phases(world) == ["closed", "closed", "waiting"]


async def test_a_stop_ends_what_waits_for_an_account(world: World, chat: Chat) -> None:
    world.use(auth=MultiUser(AuthContext(world.store.accounts, Secret("k" * 20), "http://here")))
    bob = Account("chat", "T1:U2", "bob")
    await world.store.accounts.link(bob, "bob")
    asked = await ask(world, "@onhand fix acme/web")
    assert await phases(world) == ["waiting"]
    await ask(world, "@onhand stop", actor=bob)
    assert await late(world) == ["stopped", "stopped"]
    assert chat.messages[f"status:{asked}"].startswith("ended stopped")
    await world.store.accounts.link(Account("chat", "T1:U1", "alice"), "alice")
    assert await world.store.inbox.unanswered(0) == []


async def test_a_stop_of_somebody_who_may_not_ask_closes_no_question(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    chat.guests.add("mallory")
    await ask(world)
    await ask(world, "@onhand stop", actor=Account("chat", "T1:U2", "mallory"))
    assert await late(world) == ["", "refused"]


async def test_a_wrong_answer_settles_nothing(world: World, chat: Chat) -> None:
    nobody_knows(world.forge)
    right = Repository("memory", "acme/web")

    async def may_write(repository: Repository, account: Account | None, token: Secret) -> bool:
        return repository == right

    world.forge.may_write = may_write  # type: ignore[method-assign]
    chat.guests = {"mallory"}
    await ask(world)
    await ask(world, "@onhand repo=acme/wbe")
    await ask(world, "@onhand repo=acme/wen")
    said = [text for topic, text in chat.messages.items() if topic.startswith("permission:")]
    assert ["acme/wbe" in said[0], "acme/wen" in said[1]] == [True, True], "each is answered"
    mallory = Account("chat", "T1:U2", "mallory")
    await ask(world, "@onhand", actor=mallory, repository=right, by="button")
    assert await phases(world) == ["waiting", "closed", "closed", "closed"], "a guest says nothing for others"
    await ask(world, "@onhand and this", actor=mallory)
    assert not any("Which repository" in text for topic, text in chat.messages.items() if topic != "status:1")
    await ask(world, "@onhand repo=acme/web")
    assert await phases(world) == ["admitted", *["closed"] * 4, "admitted"]
    assert fold(await world.store.log.read(TALK)).repository == right


@pytest.mark.parametrize(
    ("text", "defaults", "name"),
    [
        ("@onhand fix it repo=acme/web", {}, "acme/web"),
        ("@onhand fix it repo=memory:acme/web", {}, "acme/web"),
        ("@onhand fix it repo=https://memory.example/acme/web", {}, "acme/web"),
        ("@onhand fix it", {"chat:t1/c1": "acme/web"}, "acme/web"),
        ("@onhand fix it", {"chat:c1": "memory:acme/web"}, "acme/web"),
        ("@onhand fix it in acme/app", {"chat:c1": "acme/web"}, "acme/web"),
        ("@onhand fix acme/app", {}, "acme/app"),
        ("@onhand see https://memory.example/acme/app, like other/one", {}, "acme/app"),
    ],
)
async def test_it_is_found(world: World, chat: Chat, text: str, defaults: dict[str, str], name: str) -> None:
    world.use(defaults=defaults)
    await ask(world, text)
    state = fold(await world.store.log.read(TALK))
    assert state.repository == Repository("memory", name)
    assert [r.phase for r in state.requests.values()] == ["admitted"]


async def test_what_the_platform_links_the_thread_to_is_meant_where_nothing_is_named(world: World, chat: Chat) -> None:
    async def links(thread: Thread, token: Secret) -> str:
        return "see https://memory.example/acme/web"

    chat.links = links  # type: ignore[attr-defined]
    linked = await whereabouts.locate(world.services, State(), await stored(world, "@onhand fix it"))
    named = await whereabouts.locate(world.services, State(), await stored(world, "@onhand fix acme/app"))
    assert (linked.name, named.name) == ("acme/web", "acme/app")


async def test_two_that_are_named_are_asked_about(world: World, chat: Chat) -> None:
    trigger = await stored(world, "@onhand compare acme/app with acme/web")
    with pytest.raises(Unclear) as asked:
        await whereabouts.locate(world.services, State(), trigger)
    assert asked.value.choices == ("memory:acme/app", "memory:acme/web")


async def test_what_the_bot_cannot_write_to_is_not_meant(world: World, chat: Chat) -> None:
    async def only_app(repository: Repository, account: Any, token: Any) -> bool:
        if repository.name == "acme/gone":
            raise ProviderError("missing", "no such repository")
        return repository.name == "acme/app"

    world.forge.may_write = only_app  # type: ignore[method-assign]
    trigger = await stored(world, "@onhand fix acme/app, not acme/gone or foo/bar")
    assert (await whereabouts.locate(world.services, State(), trigger)).name == "acme/app"


async def test_a_forge_that_is_away_matters_only_where_no_other_knows_it(world: World, chat: Chat) -> None:
    class Away(Forge):
        name = "away"

        async def may_write(self, *_: Any) -> bool:
            raise ProviderError("unavailable", "no answer")

    world.use(integrations={**world.services.integrations, "away": Away()})
    trigger = await stored(world, "@onhand fix acme/app")
    assert await whereabouts.locate(world.services, State(), trigger) == Repository("memory", "acme/app")

    async def never(*_: Any) -> bool:
        return False

    world.forge.may_write = never  # type: ignore[method-assign]
    with pytest.raises(ProviderError, match="no answer"):
        await whereabouts.locate(world.services, State(), trigger)


async def test_an_account_that_is_linked_changes_nothing_where_the_repository_is_not_known(
    world: World, chat: Chat
) -> None:
    nobody_knows(world.forge)
    seq = await ask(world)
    before = dict(chat.messages)
    await world.store.accounts.link(Account("chat", "T1:U1", "alice"), "alice")
    await desk.acknowledge(world.services, TALK, seq)
    assert await world.store.inbox.unanswered(0) == [(TALK, seq, "waiting")]
    assert chat.messages == before


async def test_another_repository_needs_another_thread(world: World, chat: Chat) -> None:
    await ask(world, "@onhand fix acme/app")
    await ask(world, "@onhand and now repo=acme/web")
    assert await phases(world) == ["admitted", "closed"]
    assert any("another thread" in text for text in chat.messages.values())


async def test_a_question_needs_no_repository(world: World, chat: Chat) -> None:
    await ask(world, "@onhand help")
    assert await phases(world) == ["closed"]
    assert any("stop" in text for text in chat.messages.values())


async def test_a_guest_is_told_no_once(world: World, chat: Chat) -> None:
    chat.guests.add("alice")
    await ask(world, "@onhand fix acme/app")
    await ask(world, "@onhand fix acme/app please")
    assert await phases(world) == ["closed", "closed"]
    assert len([c for c in chat.calls if isinstance(c, Say)]) == 1


async def test_people_who_connect_accounts_need_the_right_at_the_forge(world: World, chat: Chat) -> None:
    context = AuthContext(world.store.accounts, Secret("k" * 20), "http://here")
    world.use(auth=MultiUser(context))
    await world.store.accounts.link(Account("chat", "T1:U1", "alice"), "alice")
    seq = await ask(world, "@onhand fix acme/app")
    assert await phases(world) == ["waiting"], "nobody knows her at the forge"
    await world.store.accounts.link(Account("chat", "T1:U1", "alice"), "alice")
    assert await world.store.inbox.unanswered(0) == [(TALK, seq, "connected")]
    await desk.acknowledge(world.services, TALK, seq)
    assert await world.store.inbox.unanswered(0) == [(TALK, seq, "waiting")], "it is rung for once, not for ever"
    assert len([call for call in chat.calls if isinstance(call, Say)]) == 1, "and she is told once"
    await world.store.accounts.link(Account("memory", "7", "mallory"), "alice")
    await desk.acknowledge(world.services, TALK, seq)
    assert await phases(world) == ["closed"], "that account may not write"
    await world.store.accounts.link(Account("memory", "8", "alice"), "alice")
    await ask(world, "@onhand fix acme/app")
    assert await phases(world) == ["closed", "admitted"]


async def test_a_follow_up_counts_only_where_we_take_part(world: World, chat: Chat) -> None:
    trigger = structs.replace(
        await stored(world, "@onhand more"), by="follow_up", thread=Thread("chat", "T1/C1", "200.2")
    )
    receipt = await intake.accept(world.services, Delivery("chat", "f1", "message", (trigger,)))
    assert (receipt.status, receipt.reason) == ("ignored", "not_our_thread")
    again = structs.replace(trigger, thread=CHAT, meaning="chat:f2")
    receipt = await intake.accept(world.services, Delivery("chat", "f2", "message", (again,)))
    assert receipt.status == "accepted"


async def test_no_forge_at_all_is_said(world: World, chat: Chat) -> None:
    world.use(integrations={"chat": without_code(chat)})
    with pytest.raises(Refused, match="no platform where code lives"):
        await whereabouts.locate(world.services, State(), await stored(world, "@onhand x repo=a/b"))


async def stored(world: World, text: str) -> Any:
    """Return a trigger of the chat as it was asked."""
    await world.ask(text, thread=CHAT, repository=None, title="")
    return list(fold(await world.store.log.read(TALK)).requests.values())[-1].trigger
