"""What people are called: Slack's texts and events know them by their ids alone. Where we may not ask, an id stays one."""

import asyncio
import re
from collections.abc import Iterable, Sequence

from msgspec import structs

from bot.core.errors import ProviderError
from bot.core.inbound import Message
from bot.core.remembered import Remembered
from bot.core.secret import Secret
from bot.core.untrusted import label
from integrations.slack.api import Api, table

_KEPT, _ASKED = 2_000, 40
"""Names that are remembered, and those that are asked for because of one thread."""
_LONGEST = 60
_MENTION = re.compile(r"@([UW](?=[A-Z]*[0-9])[A-Z0-9]{2,40})\b")
_AUTHOR = re.compile(r"[UW][A-Z0-9]{2,40}\b")


class People:
    """The names of the people whom a bot may see."""

    def __init__(self, api: Api) -> None:
        self._api, self._names = api, Remembered[tuple[Secret, str], str](_KEPT)

    async def name(self, user: str, token: Secret) -> str:
        """Return what a member is called, or the id."""
        try:
            return await self._names.get((token, user), lambda: self._ask(user, token))
        except ProviderError:
            return user

    async def named(self, said: Sequence[Message], request: str, token: Secret) -> list[Message]:
        """Return messages with names for ids, and before them who is mentioned in the words of the request."""
        asked = _MENTION.findall(request)
        others = [user for m in said for user in (*_AUTHOR.findall(m.author)[:1], *_MENTION.findall(m.text))]
        names = await self._names_of([*asked, *others], token)
        known = [f"@{user} is {names[user]}" for user in dict.fromkeys(asked) if names.get(user, user) != user]
        who = [Message("Slack", f"In the request, {', '.join(known)}.")] if known else []
        return [*who, *(_renamed(m, names) for m in said)]

    async def _names_of(self, users: Iterable[str], token: Secret) -> dict[str, str]:
        wanted = list(dict.fromkeys(users))[:_ASKED]
        return dict(zip(wanted, await asyncio.gather(*(self.name(user, token) for user in wanted)), strict=True))

    async def _ask(self, user: str, token: Secret) -> str:
        found = table((await self._api.call(token, "users_info", user=user)).get("user"))
        profile = table(found.get("profile"))
        choices = (profile.get("display_name"), profile.get("real_name"), found.get("real_name"), found.get("name"))
        names = (label(str(choice or "")).strip()[:_LONGEST] for choice in choices)
        return next(filter(None, names), user)


def _renamed(message: Message, names: dict[str, str]) -> Message:
    author = _AUTHOR.sub(lambda m: names.get(m[0], m[0]), message.author, count=1)
    return structs.replace(
        message, author=author, text=_MENTION.sub(lambda m: f"@{names.get(m[1], m[1])}", message.text)
    )
