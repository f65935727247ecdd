"""The commands, as somebody at a shell meets them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PAYLOAD = Path(__file__).parent / "integrations" / "github" / "payloads"


class Shell:
    """Runs `onhand` with a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONHAND_")},
            "ONHAND_HOME": str(folder / "home"),
            "ONHAND_GITHUB__WEBHOOK_SECRET": "canary-webhook-1f3c",
            "ONHAND_GITHUB__TOKEN": "canary-token-88ab2c",
            "ONHAND_GITHUB__API_URL": "http://127.0.0.1:9/api/v3",
        }

    def __call__(self, *arguments: str, stdin: str = "", **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bot", *arguments],
            env={**self.environment, **more}, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip


@pytest.fixture
def onhand(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_help_names_every_command(onhand: Shell) -> None:
    shown = onhand("--help").stdout
    for name in ["up", "serve", "worker", "demo", "config", "doctor", "show", "replay", "db", "keys", "users"]:
        assert f"\n  {name}" in shown


def test_config_shows_values_and_origins_and_no_secret(onhand: Shell) -> None:
    shown = onhand("config", ONHAND_PORT="4321").stdout
    assert "ONHAND_PORT" in shown
    assert "4321  (environment)" in shown
    assert "ONHAND_GITHUB__TOKEN" in shown
    assert "canary" not in shown
    rows = json.loads(onhand("config", "--json").stdout)
    assert {"name", "value", "from", "meaning"} == set(rows[0])


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["config"], {"ONHAND_PROT": "1"}, "did you mean PORT"),
        (["config"], {"ONHAND_GITHUP__TOKEN": "x"}, "ONHAND_GITHUP"),
        (["config"], {"ONHAND_GITHUB__TOKE": "x"}, "did you mean TOKEN"),
        (["worker"], {"ONHAND_SANDBOX__KIND": "moon"}, "no sandboxe named 'moon'"),
        (["serve"], {"ONHAND_AUTH__STRATEGY": "moon"}, "'moon'"),
        (["serve"], {"ONHAND_REDIS_URL": "canary-moon"}, "ONHAND_REDIS_URL: expected redis://host"),
        (["users", "list"], {"ONHAND_HOME": __file__}, "ONHAND_HOME: expected a folder"),
        (["nonsense"], {}, "No such command"),
        (["users", "link", "alice"], {}, "SERVICE:LOGIN"),
        (["replay", "gitlab", __file__], {}, "not configured"),
    ],
)
def test_wrong_use_is_status_2_and_says_what_is_right(
    onhand: Shell, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    done = onhand(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_somebody_else_has_is_named(onhand: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = onhand("serve", ONHAND_PORT=str(port))
    assert done.returncode == 1
    assert f"cannot listen at 127.0.0.1 port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_is_wrong_and_what_to_do(onhand: Shell) -> None:
    done = onhand("doctor", "--json")
    findings = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert findings["database"]["ok"]
    assert findings["redis"]["ok"]
    assert findings["github intake"]["ok"]
    assert not findings["github token"]["ok"]
    assert "ONHAND_LLM__MODEL" in findings["model"]["detail"]
    assert done.returncode == 1
    assert "canary" not in done.stdout + done.stderr


def test_an_account_is_linked_listed_and_unlinked(onhand: Shell) -> None:
    linked = onhand("users", "link", "github:alice", "--id", "7", "--user", "ada")
    assert linked.stdout == "github:alice (7) belongs to ada\n"
    assert json.loads(onhand("users", "list", "--json").stdout) == {
        "user": "ada", "account": "github:alice", "id": "7", "token": False,
    }  # fmt: skip
    assert onhand("users", "unlink", "github:alice").returncode == 0
    assert onhand("users", "unlink", "github:alice").returncode == 1


def test_a_stored_token_survives_a_rotation_of_the_keys(onhand: Shell) -> None:
    first, second = "the-first-key-of-the-test", "the-second-key-of-the-test"
    stored = onhand(
        "users",
        "link",
        "github:alice",
        "--id",
        "7",
        "--token-stdin",
        stdin="secret-of-alice\n",
        ONHAND_SECRET_KEYS=first,
    )
    assert stored.returncode == 0, stored.stderr
    assert b"secret-of-alice" not in (onhand.folder / "home" / "onhand.sqlite").read_bytes()
    rotated = onhand("keys", "rotate", ONHAND_SECRET_KEYS=f"{second},{first}")
    assert rotated.stdout == "1 token encrypted with the first key\n"
    assert onhand("keys", "rotate", ONHAND_SECRET_KEYS=second).returncode == 0
    assert onhand("keys", "rotate", ONHAND_SECRET_KEYS=first).returncode == 2


def test_the_database_is_upgraded_once_and_again(onhand: Shell) -> None:
    for _ in range(2):
        assert onhand("db", "upgrade").stdout == "the database is up to date\n"


def test_show_says_when_there_is_nothing(onhand: Shell) -> None:
    done = onhand("show", "github:acme/app#1")
    assert done.returncode == 1
    assert "there is no conversation" in done.stderr


def test_replay_says_when_nobody_answers(onhand: Shell) -> None:
    file = min(PAYLOAD.glob("issue_comment.created*.json"))
    done = onhand("replay", "github", str(file), "--url", "http://127.0.0.1:9/api/integration/github/events")
    assert done.returncode == 1
    assert "does not answer" in done.stderr
