"""What the web process does without: each of these packages would make it ready some ten to some hundred milliseconds later."""

import os
import subprocess
import sys
from pathlib import Path

NEEDLESS = {
    *("litellm", "openai", "mcp", "alembic", "docker"),  # a worker's
    *("github", "gitlab", "jira", "slack_sdk", "requests", "aiohttp", "httpx", "rich"),  # of who makes requests
    *("pydantic", "attr"),  # Litestar's for those who use them
    *("sqlalchemy.orm", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql"),
}
PLATFORMS = {
    "GITHUB__WEBHOOK_SECRET": "a secret",
    "GITHUB__TOKEN": "a token",
    "GITLAB__WEBHOOK_SECRET": "a secret",
    "GITLAB__TOKEN": "a token",
    "SLACK__SIGNING_SECRET": "a secret",
    "SLACK__BOT_TOKEN": "xoxb-1",
    "JIRA__WEBHOOK_SECRET": "a secret",
    "JIRA__URL": "http://localhost",
    "JIRA__API_TOKEN": "a token",
    "LINEAR__WEBHOOK_SECRET": "a secret",
    "LINEAR__CLIENT_ID": "an id",
    "LINEAR__CLIENT_SECRET": "a secret",
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


def test_the_web_process_with_every_platform_starts_without(migrated_sqlite: Path, redis_url: str) -> None:
    told = {"HOME": str(migrated_sqlite.parent), "DATABASE_URL": f"sqlite:///{migrated_sqlite}", "REDIS_URL": redis_url}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")}
    environment |= {f"ONHAND_{name}": value for name, value in (PLATFORMS | told).items()}
    done = subprocess.run([sys.executable, "-c", OPEN], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {f"integrations.{name.partition('_')[0].lower()}.client" for name in PLATFORMS} <= imported
    assert NEEDLESS & imported == set()
