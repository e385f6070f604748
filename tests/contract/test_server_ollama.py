"""Ollama's SDK against the engine, and what editors ask of Ollama."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import ollama
import pytest

from fake_engine import Running, running_apart, until

CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>'
TOOLS: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small", "doomed") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[ollama.Client]:
    client = ollama.Client(host=engine.url)
    yield client
    client._client.close()


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def lines(body: bytes) -> list[Any]:
    """No line is empty: clients stop at one."""
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.decode()[:-1].split("\n")]


def test_a_whole_chat(client: ollama.Client) -> None:
    answer = client.chat(model="small", messages=asked("words=3 two"), options={"seed": 7, "num_ctx": 2048})
    assert answer.message.content == "w0 w1 w2 "
    assert (answer.done, answer.done_reason, answer.model) == (True, "stop", "small")
    assert (answer.prompt_eval_count, answer.eval_count) == (2, 3)
    assert answer.total_duration is not None
    assert answer.total_duration > (answer.eval_duration or 0)


def test_a_streamed_chat(client: ollama.Client) -> None:
    chunks = list(client.chat(model="small", messages=asked("words=3"), stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == "w0 w1 w2 "
    assert [chunk.done for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].eval_count == 3


def test_streaming_is_what_happens_unless_asked_otherwise(engine: Running) -> None:
    """gen.nvim sends a form's content type, and no more than this."""
    reply = engine.ask(
        "POST", "/api/chat", {"model": "small", "messages": asked("words=2")},
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert reply.headers["content-type"] == "application/x-ndjson"
    found = lines(reply.body)
    assert [line["message"]["content"] for line in found] == ["w0 ", "w1 ", ""]
    assert [line["done"] for line in found] == [False, False, True]


def test_calls_have_objects_for_arguments_and_no_other_key(client: ollama.Client, engine: Running) -> None:
    answer = client.chat(model="small", messages=asked(f"say={quote(CALL)}"), tools=TOOLS)
    assert answer.message.tool_calls is not None
    assert answer.message.tool_calls[0].function.name == "get_weather"
    assert answer.message.tool_calls[0].function.arguments == {"city": "Bern"}
    body = {"model": "small", "messages": asked(f"say={quote(CALL)}"), "tools": TOOLS}
    *_, called, last = lines(engine.ask("POST", "/api/chat", body).body)
    assert called["message"]["tool_calls"] == [{"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}]
    assert called["message"]["content"] == ""
    assert last["done"]


def test_thinking_has_a_member_of_its_own(client: ollama.Client) -> None:
    prompt = f"say={quote('<think>Hm</think>Yes')}"
    answer = client.chat(model="small", messages=asked(prompt), think=True)
    assert (answer.message.thinking, answer.message.content) == ("Hm", "Yes")
    chunks = list(client.chat(model="small", messages=asked(prompt), think=True, stream=True))
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == "Hm"


def test_the_answers_of_tools_are_taken(client: ollama.Client) -> None:
    call = {"function": {"name": "get_weather", "arguments": {"city": "Bern"}}}
    messages: list[Any] = [
        *asked("weather?"),
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "words=1", "tool_name": "get_weather"},
    ]  # fmt: skip
    assert client.chat(model="small", messages=messages, tools=TOOLS).message.content == "w0 "


def test_generating(client: ollama.Client) -> None:
    assert client.generate(model="small", prompt="words=2", system="Be brief.").response == "w0 w1 "
    assert client.generate(model="small", prompt="words=2", suffix="x").response == "w0 w1 "
    assert (
        client.generate(model="small", prompt="words=2", raw=True, options={"num_predict": 1}).done_reason == "length"
    )
    assert (
        "".join(chunk.response for chunk in client.generate(model="small", prompt="words=2", stream=True)) == "w0 w1 "
    )
    with pytest.raises(ollama.ResponseError, match="does not support insert"):
        client.generate(model="small", prompt="fail=fill", suffix="x")


def test_zed_completes(engine: Running) -> None:
    body = {
        "model": "small", "prompt": "<|fim_prefix|> words=1 <|fim_suffix|>", "raw": True, "stream": False,
        "options": {"num_predict": 64, "temperature": 0.2, "stop": [f"<|{i}|>" for i in range(14)]},
    }  # fmt: skip
    assert engine.ask("POST", "/api/generate", body).json["response"] == "w0 "


def test_schemas_and_json(client: ollama.Client) -> None:
    for form in ("json", {"type": "object"}, ""):
        assert client.chat(model="small", messages=asked("words=1"), format=form).done  # type: ignore[arg-type]


def test_models_are_listed_and_shown(client: ollama.Client, engine: Running) -> None:
    listed = {model.model: model for model in client.list().models}
    small = listed["small"]
    assert small.details is not None
    assert small.details.format == "gguf"
    assert re.fullmatch(r"[0-9a-f]{64}", small.digest or "")
    assert small.size == (engine.ask("GET", "/api/tags").json["models"][0]["size"])
    for body in ({"model": "small"}, {"name": "small:latest"}):
        shown = engine.ask("POST", "/api/show", body).json
        architecture = shown["model_info"]["general.architecture"]
        assert f"{architecture}.context_length" in shown["model_info"]
        assert "tools" in shown["capabilities"]
        assert all(line.strip() for line in shown["parameters"].split("\n"))
    assert client.show("small").details is not None
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("nobody")
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nobody' not found")


def test_the_version_is_one_that_clients_accept(engine: Running) -> None:
    version = engine.ask("GET", "/api/version").json["version"]
    assert tuple(map(int, version.split("."))) >= (0, 13, 4)
    assert engine.ask("HEAD", "/api/version").status == 200
    assert engine.ask("GET", "/").body == b"Ollama is running"


def test_loading_and_unloading(client: ollama.Client, engine: Running) -> None:
    loaded = client.chat(model="small", messages=[], keep_alive="5m")
    assert (loaded.done, loaded.done_reason) == (True, "load")
    (running_model,) = [model for model in client.ps().models if model.model == "small"]
    assert running_model.context_length == 4096
    assert running_model.expires_at is not None
    assert client.generate(model="small", prompt="", keep_alive=0).done_reason == "unload"
    until(lambda: engine.model("small") is None)


def test_what_is_here_is_pulled_at_once(client: ollama.Client) -> None:
    assert client.pull("small").status == "success"
    assert [line.status for line in client.pull("small", stream=True)] == ["pulling manifest", "success"]
    with pytest.raises(ollama.ResponseError, match="not found"):
        client.pull("nobody")


def test_only_the_owner_removes(client: ollama.Client, engine: Running) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete("doomed")
    assert caught.value.status_code == 403
    assert engine.ask("DELETE", "/api/delete", {"model": "doomed"}, owner=True).status == 200
    assert "doomed" not in [model.model for model in client.list().models]


def test_errors_have_its_shape(client: ollama.Client, engine: Running) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(model="nobody", messages=asked("x"))
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nobody' not found")
    reply = engine.ask(
        "POST", "/api/chat", {"model": "small", "messages": asked("x"), "options": {"temperature": "hot"}}
    )
    assert reply.status == 400
    assert list(reply.json) == ["error"]
    assert "options.temperature" in reply.json["error"]
    for path, body in (("/api/chat", {"messages": [{"role": "user", "content": "", "images": ["x"]}]}),
                       ("/api/generate", {"prompt": "x", "images": ["x"]})):  # fmt: skip
        assert "images cannot be read" in engine.ask("POST", path, {"model": "small", **body}).json["error"]
    assert engine.ask("GET", "/api/nothing").json == {"error": "There is no /api/nothing here."}
    *_, last = lines(engine.ask("POST", "/api/chat", {"model": "small", "messages": asked("words=9 fail=late")}).body)
    assert list(last) == ["error"]
