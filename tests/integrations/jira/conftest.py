"""A small Jira on loopback, Cloud or Data Center, and the client that talks to it."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from bot.core.ports import Us
from bot.core.secret import Secret
from bot.testing.openapi import check_requests
from integrations.jira.client import Jira
from tests.standins.jira import JiraServer


@pytest.fixture(params=["cloud", "data-center"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[JiraServer]:
    async with JiraServer(cloud=request.param == "cloud") as server:
        for name in ("onhand", "alice", "bob"):
            server.person(name)
        server.person("customer", "customer" if server.cloud else "atlassian", member=False)
        yield server


@pytest.fixture
async def client(server: JiraServer) -> AsyncIterator[Jira]:
    """Whatever a test has it send to Cloud is held against Jira's own description in the end."""
    us = server.people["onhand"]
    email, _, key = us.token.rpartition(":")
    settings = Jira.Settings(
        webhook_secret=Secret("s3cret"),
        url=server.url,
        email=email,
        api_token=Secret(key),
        bot_account_id=us.id if server.cloud else us.name,
        state_at_start="in progress",
        state_at_end="In Review",
        timeout=2,
    )
    client = Jira(settings, Us())
    yield client
    await client.close()
    if server.cloud:
        assert departures(server) == []


@pytest.fixture
async def token(client: Jira) -> Secret:
    token = await client.token("APP")
    assert token is not None
    return token


def departures(server: JiraServer) -> list[str]:
    """Return every way in which what was sent departs from Jira Cloud's description, or a comment from Atlassian's schema.

    api.json is that description and adf.json that schema, both reduced to what we use.
    """
    sent = [request for request in server.requests if request.path.startswith("/rest/api/3/")]
    lists = [replace(r, query={**r.query, "fields": [r.query["fields"]]}) if "fields" in r.query else r for r in sent]
    bodies = [r.body["body"] for r in sent if isinstance(r.body, dict) and "body" in r.body]
    schema = Draft4Validator(_loaded("adf.json"))
    return [
        *check_requests(lists, _loaded("api.json")),
        *(error.message for body in bodies for error in schema.iter_errors(body)),
    ]


@cache
def _loaded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / name).read_bytes())
    return loaded
