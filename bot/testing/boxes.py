"""What the checks of sandboxes are made with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from bot.core.errors import SandboxError, SandboxGone
from bot.core.ports import Sandbox, Sandboxes

T = TypeVar("T")
Check = Callable[[Sandboxes], Awaitable[None]]


def expect(found: object, wanted: object, what: str) -> None:
    """Raise AssertionError that says what was expected and what came."""
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {found!r}")


@asynccontextmanager
async def box_of(sandboxes: Sandboxes, **labels: str) -> AsyncIterator[Sandbox]:
    """Make a box with these labels, and remove it in the end."""
    box = await sandboxes.create(labels)
    try:
        yield box
    finally:
        await box.remove()


async def said(box: Sandbox, command: str) -> str:
    """Return what a command prints, which must succeed."""
    result = await box.run(command, timeout=30)
    expect(result.exit_code, 0, f"exit code of {command!r}, which said {result.output!r}")
    return result.output.rstrip("\n")


async def until(look: Callable[[], Awaitable[T]]) -> T:
    """Look again and again until there is something to see."""
    async with asyncio.timeout(30):
        while True:
            try:
                if seen := await look():
                    return seen
            except SandboxGone:
                raise
            except SandboxError:
                pass
            await asyncio.sleep(0.02)


async def alive(box: Sandbox) -> bool:
    """Whether the box answers."""
    return (await box.run("echo alive", timeout=20)).output.startswith("alive\n")
