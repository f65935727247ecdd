"""What the journeys share: the keys to look for, the sample repository, and the words of the scripted model."""

from base64 import b64encode
from typing import Any

CANARIES = {
    "webhook": "canary-webhook-7d1c0a55e2",
    "model": "canary-model-93be41f07c",
    "keys": "canary-keys-5b8d66a1f04e",
    "github": "ghs_" + b"onhand-bot".hex(),
    "slack_signing": "canary-slack-signing-1f0c77",
    "slack": "xoxb-canary-slack-64be90aa12",
    "gitlab": "glpat-" + b"onhand-bot".hex(),
    "gitlab signing": "whsec_" + b64encode(b"canary-of-the-signing-token-7f2c").decode(),
    "gitlab secret": "canary-gitlab-secret-1be07d55",
    "jira": "canary-jira-0d94be617a",
    "jira webhook": "canary-jira-webhook-2b7fe3",
    "jira automation": "canary-jira-automation-91c4d8",
}
"""Every key that is configured, by what it is for. Those of platforms are what the stand-ins give the bot."""

SAMPLE = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "test_calc.py": (
        "import unittest\n\nfrom calc import add\n\n\n"
        "class Add(unittest.TestCase):\n    def test_it_adds(self):\n        self.assertEqual(add(2, 3), 5)\n"
    ),
    ".gitignore": "__pycache__/\n",
    ".github/PULL_REQUEST_TEMPLATE.md": "## What\n\n## Checklist\n\n- [ ] I have read the rules\n",
}

MEND_CALC = "sed -i 's/a - b/a + b/' calc.py && python3 -m unittest 2>&1 | tail -n 1"


def step(*calls: dict[str, Any], text: str = "") -> dict[str, Any]:
    """One answer of the model."""
    return {"text": text, "calls": list(calls)}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """One tool call in an answer."""
    return {"name": name, "arguments": arguments}


def bash(command: str, **more: Any) -> dict[str, Any]:
    """An answer that runs a command."""
    return step(call("bash", command=command, **more))


def finish(summary: str = "`add` subtracted. It adds now.", title: str = "Add in add") -> dict[str, Any]:
    """The answer that ends the run."""
    return step(call("finish", title=title, summary=summary))
