"""Linking an account lets what waited for it go on."""

from pathlib import Path

from bot import bootstrap, config
from bot.commands import operations
from bot.core.conversation import conversation_id
from bot.core.events import Draft, Waiting
from bot.core.inbound import Account, Delivery, Origin, Repository, Thread, Trigger
from bot.core.mentions import Request

THREAD = Thread("github", "acme/app", "1")
ALICE = Account("github", "7", "alice")


async def test_a_request_that_waits_for_an_account_is_rung_for_when_it_is_linked(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    settings = config.load(
        {
            "ONHAND_HOME": str(tmp_path),
            "ONHAND_DATABASE_URL": database_url,
            "ONHAND_REDIS_URL": redis_url,
            "ONHAND_AUTH__STRATEGY": "multi_user",
            "ONHAND_GITHUB__WEBHOOK_SECRET": "a secret for the test",
        }
    )
    trigger = Trigger(
        THREAD, ALICE, Request("work", "fix it"), "github:comment:1", "mention", Origin("comment", "1"),
        repository=Repository("github", "acme/app"),
    )  # fmt: skip
    async with bootstrap.build(settings) as built:
        await built.services.inbox.accept(Delivery("github", "d-1", "issue_comment.created", (trigger,)))
        waiting = Draft(Waiting(request=1, account=ALICE.key))
        await built.services.log.append(conversation_id(THREAD), [waiting], expected=1)
    said = await operations.link(settings, "github:alice", "ada", "7", "")
    assert said == "github:alice (7) belongs to ada; 1 waiting request went on"
    async with bootstrap.build(settings) as built:
        assert await built.bus.redis.zcard("onhand:actions") == 1
        user = await built.services.auth.user_of(ALICE)
        assert user is not None
        assert user.id == "ada"
