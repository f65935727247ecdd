"""The server that plays a script to any client of OpenAI's API."""

import json

import httpx
import pytest

from bot.testing.models import Fault, ModelServer, ScriptedModel

SCRIPT = [
    {
        "text": "One.",
        "calls": [{"name": "bash", "arguments": {"command": "ls"}}],
        "input_tokens": 3,
        "output_tokens": 2,
    },
    {"text": "Two."},
]
USER = {"role": "user", "content": "x"}
ASSISTANT = {"role": "assistant", "content": "One."}


@pytest.fixture
def server():
    with ModelServer(SCRIPT, key="k") as server:
        yield server


def ask(server, *messages, key="k", **more):
    body = {"model": "scripted", "messages": list(messages), **more}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.base_url}/chat/completions", json=body, headers=headers, timeout=5)


def test_the_step_is_chosen_by_the_assistants_messages(server):
    first, second = ask(server, USER).json(), ask(server, USER, ASSISTANT).json()
    assert first["choices"][0]["message"]["tool_calls"][0]["function"] == {
        "name": "bash",
        "arguments": '{"command": "ls"}',
    }
    assert first["choices"][0]["finish_reason"] == "tool_calls"
    assert first["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert second["choices"][0]["message"]["content"] == "Two."


def test_a_wrong_key_is_refused_and_not_recorded(server):
    assert ask(server, USER, key="wrong").status_code == 401
    assert server.requests == []


def test_it_refuses_to_go_past_its_script(server):
    answer = ask(server, USER, ASSISTANT, ASSISTANT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "script_ended")


def test_a_stream_carries_text_calls_and_usage(server):
    lines = [line[6:] for line in ask(server, USER, stream=True).text.splitlines() if line]
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert lines[-1] == "[DONE]"
    assert deltas[0]["content"] == "One."
    assert deltas[1]["tool_calls"][0]["function"]["name"] == "bash"
    assert chunks[-1]["usage"]["total_tokens"] == 5


def test_faults_come_once_each_and_in_order(server):
    server.fail(Fault(status=429, retry_after="2"), Fault(instead="close"), Fault(instead="nonsense"))
    limited = ask(server, USER)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
    with pytest.raises(httpx.RemoteProtocolError):
        ask(server, USER)
    with pytest.raises(json.JSONDecodeError):
        ask(server, USER).json()
    assert ask(server, USER).status_code == 200


def test_a_function_may_answer():
    with ModelServer(lambda body: {"text": body["messages"][-1]["content"].upper()}) as server:
        assert ask(server, USER).json()["choices"][0]["message"]["content"] == "X"


async def test_a_script_can_be_read_from_a_file(tmp_path):
    path = tmp_path / "login.json"
    path.write_text(json.dumps(SCRIPT))
    model = ScriptedModel.load(path)
    assert model.name == "scripted:login"
    assert (await model.complete([USER, ASSISTANT], [])).text == "Two."
