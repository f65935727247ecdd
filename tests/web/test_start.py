"""What the web process does without: each of these packages would make it ready some ten to some hundred milliseconds later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NEEDLESS = {
    *("litellm", "openai", "mcp", "alembic", "docker"),  # a worker's
    *("github", "gitlab", "jira", "slack_sdk", "requests", "aiohttp", "httpx", "rich"),  # of who makes requests
    *("pydantic", "attr"),  # Litestar's for those who use them
    *("sqlalchemy.orm", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql"),
}
OPEN = """
import asyncio, os, sys
import bot.cli, bot.commands.service
from bot import bootstrap, config
from bot.web.app import create

async def main():
    async with bootstrap.build(config.load(os.environ)) as built:
        create(built)
        assert set((await built.check()).values()) == {"ok"}

asyncio.run(main())
print(*sys.modules)
"""


@pytest.mark.parametrize(
    "platform",
    [
        {"GITHUB__WEBHOOK_SECRET": "a secret", "GITHUB__TOKEN": "a token"},
        {"GITLAB__WEBHOOK_SECRET": "a secret", "GITLAB__TOKEN": "a token"},
        {"SLACK__SIGNING_SECRET": "a secret", "SLACK__BOT_TOKEN": "xoxb-1"},
        {"JIRA__WEBHOOK_SECRET": "a secret", "JIRA__URL": "http://localhost", "JIRA__API_TOKEN": "a token"},
    ],
    ids=["github", "gitlab", "slack", "jira"],
)
def test_the_web_process_starts_without(platform: dict[str, str], migrated_sqlite: Path, redis_url: str) -> None:
    told = {**platform, "HOME": str(migrated_sqlite.parent), "DATABASE_URL": f"sqlite:///{migrated_sqlite}"}
    told |= {"REDIS_URL": redis_url}
    environment = os.environ | {f"ONHAND_{name}": value for name, value in told.items()}
    done = subprocess.run([sys.executable, "-c", OPEN], env=environment, capture_output=True, text=True, check=True)
    assert not NEEDLESS & set(done.stdout.split())
