"""What a service under test is told: every key a canary, stand-ins for GitHub and the model, nothing from outside."""

import os
from collections.abc import Mapping
from pathlib import Path

from bot.commands.service import free_port
from tests.journeys.steps import CANARIES


def environment(folder: Path, redis_url: str, sandbox: str, github_port: int, model_url: str) -> dict[str, str]:
    """Return the environment of its processes."""
    return {
        **_without_ours(os.environ),
        "ONHAND_HOME": str(folder / "home"),
        "ONHAND_PORT": str(free_port("127.0.0.1")),
        "ONHAND_REDIS_URL": redis_url,
        "ONHAND_LOG_JSON": "1",
        "ONHAND_SECRET_KEYS": CANARIES["keys"],
        "ONHAND_SANDBOX__KIND": sandbox,
        **{
            f"ONHAND_LIMITS__PER_{what}": "0" for what in ("PERSON", "REPOSITORY", "THREAD")
        },  # alice asks in every journey
        "ONHAND_LLM__MODEL": "openai/scripted",
        "ONHAND_LLM__BASE_URL": model_url,
        "ONHAND_LLM__API_KEY": CANARIES["model"],
        "ONHAND_GITHUB__WEBHOOK_SECRET": CANARIES["webhook"],
        "ONHAND_GITHUB__TOKEN": CANARIES["github"],
        "ONHAND_GITHUB__BOT_LOGIN": "onhand-bot",
        "ONHAND_GITHUB__API_URL": f"http://127.0.0.1:{github_port}/api/v3",
        "ONHAND_GITHUB__WEB_URL": f"http://127.0.0.1:{github_port}",
        "ONHAND_SLACK__SIGNING_SECRET": CANARIES["slack_signing"],
        "ONHAND_SLACK__BOT_TOKEN": CANARIES["slack"],
        "ONHAND_SLACK__API_URL": f"http://127.0.0.1:{free_port('127.0.0.1')}/api",
    }


def gitlab_settings(port: int) -> dict[str, str]:
    """Return what makes GitLab at this port of loopback a platform and a forge of the service."""
    return {
        "ONHAND_GITLAB__URL": f"http://127.0.0.1:{port}",
        "ONHAND_GITLAB__SIGNING_TOKEN": CANARIES["gitlab signing"],
        "ONHAND_GITLAB__WEBHOOK_SECRET": CANARIES["gitlab secret"],
        "ONHAND_GITLAB__TOKEN": CANARIES["gitlab"],
        "ONHAND_GITLAB__BOT_USERNAME": "onhand-bot",
    }


def jira_settings(port: int) -> dict[str, str]:
    """Return what makes Jira Cloud at this port of loopback a platform of the service."""
    return {
        "ONHAND_JIRA__WEBHOOK_SECRET": CANARIES["jira webhook"],
        "ONHAND_JIRA__AUTOMATION_SECRET": CANARIES["jira automation"],
        "ONHAND_JIRA__URL": f"http://127.0.0.1:{port}",
        "ONHAND_JIRA__EMAIL": "onhand@example.org",
        "ONHAND_JIRA__API_TOKEN": CANARIES["jira"],
        "ONHAND_JIRA__BOT_ACCOUNT_ID": f"712020:{b'onhand'.hex()}",
        "ONHAND_JIRA__STATE_AT_START": "In Progress",
        "ONHAND_JIRA__STATE_AT_END": "In Review",
    }


def _without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("ONHAND_")}
