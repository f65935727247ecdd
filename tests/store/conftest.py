"""Makers of what the store's tests put in."""

import itertools
from collections.abc import Callable

import pytest

from bot.core.conversation import conversation_id
from bot.core.inbound import Account, Delivery, Origin, Thread, Trigger
from bot.core.mentions import Request
from bot.store import Store

ANN = Account("github", "7", "ann")


@pytest.fixture
def trigger() -> Callable[..., Trigger]:
    """Make a trigger: a comment `comment` in issue `item`."""

    def make(comment: str = "1", item: str = "12", actor: Account = ANN, title: str = "Login fails") -> Trigger:
        thread = Thread("github", "owner/repo", item)
        request = Request("work", "fix it")
        meaning = f"{thread.key}:comment:{comment}"
        return Trigger(thread, actor, request, meaning, "mention", Origin("comment", comment), title=title)

    return make


@pytest.fixture
def delivery(trigger: Callable[..., Trigger]) -> Callable[..., Delivery]:
    """Make a delivery: a new id each time, one trigger unless others are given."""
    numbers = itertools.count(1)

    def make(*triggers: Trigger, id: str = "") -> Delivery:  # noqa: A002
        return Delivery("github", id or f"delivery-{next(numbers)}", "issue_comment.created", triggers or (trigger(),))

    return make


@pytest.fixture
async def conversation(store: Store, delivery: Callable[..., Delivery], trigger: Callable[..., Trigger]) -> str:
    """A conversation with one Asked event."""
    await store.inbox.accept(delivery())
    return conversation_id(trigger().thread)
