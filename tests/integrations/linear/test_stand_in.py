"""The stand-in finds what Linear would not take."""

from typing import Any

import httpx
import pytest

from integrations.linear import documents
from tests.standins.linear import LinearServer

SAID = {"type": "thought", "body": "Hm."}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"content": {"type": "musing", "body": "Hm."}}, "no type of an activity"),
        ({"content": {"type": "action", "body": "Hm."}}, "no content of an activity"),
        ({"content": {"type": "thought", "body": " "}}, "no content of an activity"),
        ({"content": {"type": "response", "body": "Done."}, "ephemeral": True}, "cannot be ephemeral"),
        ({"signal": "select", "signalMetadata": {"options": []}}, "has no signal"),
        ({"id": "7"}, "no UUID of version 4"),
        ({"session": "x"}, "$input"),
    ],
)
async def test_an_activity_is_held_against_the_documentation(changes: dict[str, Any], problem: str) -> None:
    async with LinearServer() as server:
        alice, app = server.person("Alice"), server.person("onhand", app=True)
        session = await server.mention(server.issue("ENG", "Add is wrong"), alice, "@onhand fix it")
        given = {
            "id": "0b8b0c5e-7c55-4d0e-8a7c-6f6e68616e64",
            "agentSessionId": session["id"],
            "content": SAID,
            **changes,
        }
        async with httpx.AsyncClient(trust_env=False) as client:
            sent = {"query": documents.SAY_IN_SESSION, "variables": {"input": given}}
            await client.post(server.url, json=sent, headers={"authorization": f"Bearer {app['token']}"})
        assert any(problem in found for found in server.problems) if problem else server.problems == []


async def test_a_token_that_nobody_has_is_not_taken() -> None:
    async with LinearServer() as server, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(server.url, json={"query": documents.VIEWER})
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["extensions"]["code"] == "AUTHENTICATION_ERROR"
