"""`/v1` as OpenAI's clients use it: the SDK itself, and the bytes on the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from fake_engine import Running, chat_body, events, running_apart, text_of, until


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One engine for all of this file."""
    with running_apart(tmp_path_factory.mktemp("home"), "Small", "single-slots1", "slow-one") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


# --- the SDK


def test_the_sdk_gets_a_whole_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": "words=3 two"}], seed=7, logprobs=True, top_logprobs=2
    )
    (choice,) = answer.choices
    assert choice.message.content == "w0 w1 w2 "
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "stop", 0)
    assert answer.object == "chat.completion"
    assert answer.model == "Small"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (2, 3, 5)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 1
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [entry.token for entry in choice.logprobs.content] == ["w0 ", "w1 ", "w2 "]
    assert choice.logprobs.content[0].bytes == list(b"w0 ")
    assert [top.token for top in choice.logprobs.content[0].top_logprobs] == ["t0", "t1"]
    extra = answer.model_extra
    assert extra is not None
    assert extra["fireside"]["seed"] == 7
    assert extra["fireside"]["route"] == "Small"
    assert extra["fireside"]["exact"] is True
    assert extra["fireside"]["reason"].endswith(".")
    assert set(extra["timings"]) == {
        "cache_n", "cache_ram_n", "cache_disk_n",
        "prompt_n", "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_n", "predicted_ms",
        "predicted_per_token_ms", "predicted_per_second", "draft_n", "draft_n_accepted",
        "draft_ms_won", "draft_sources",
    }  # fmt: skip


def test_the_sdk_gets_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": "words=4"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "w0 w1 w2 w3 "
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_the_sdk_lists_models(engine: Running, client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert {"Small", "single-slots1", "slow-one"} <= set(names)
    one = client.models.retrieve("SMALL")
    assert (one.id, one.object) == ("Small", "model")
    assert one.model_extra is not None
    assert one.model_extra["meta"]["size"] > 0
    assert one.model_extra["fireside"]["source"] == "folder"
    assert ".gguf" not in engine.ask("GET", "/v1/models").body.decode()
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("smal")
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "model_not_found"
    assert "Small" in json.dumps(caught.value.body)


def test_the_sdk_raises_its_own_classes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nobody", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "x"}], temperature=9)


# --- the wire


def stream(engine: Running, prompt: str, model: str = "small", **fields: Any) -> list[Any]:
    reply = engine.chat(prompt, model, stream=True, **fields)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    return events(reply.body)


def test_chunks_have_exactly_the_documented_shape(engine: Running) -> None:
    *chunks, done = stream(engine, "words=2", seed=5)
    assert done == "[DONE]"
    assert len({chunk["id"] for chunk in chunks}) == 1
    for chunk in chunks:
        assert {"id", "object", "created", "model", "choices"} <= set(chunk)
        assert chunk["object"] == "chat.completion.chunk"
        assert 0 < chunk["created"] < 2**32
        assert "usage" not in chunk
        assert all({"index", "delta", "finish_reason"} <= set(choice) for choice in chunk["choices"])
    role, *contents, last = chunks
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert [chunk["choices"][0]["delta"] for chunk in contents] == [{"content": "w0 "}, {"content": "w1 "}]
    assert last["choices"][0]["delta"] == {}
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["timings"]["predicted_n"] == 2
    assert last["fireside"]["seed"] == 5


def test_usage_is_a_chunk_of_its_own_and_only_when_asked_for(engine: Running) -> None:
    *_, last, usage, done = stream(engine, "words=2", stream_options={"include_usage": True})
    assert last["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 2
    assert done == "[DONE]"


def test_json_is_compact_and_the_body_needs_no_content_type(engine: Running) -> None:
    body = json.dumps(chat_body("words=1")).encode()
    for content_type in ("application/x-www-form-urlencoded", "text/plain", "nonsense"):
        reply = engine.ask("POST", "/v1/chat/completions", body, headers={"Content-Type": content_type})
        assert reply.status == 200
        assert b'"content":"w0 "' in reply.body
        assert b"\n" not in reply.body
    assert engine.ask("POST", "/chat/completions", body).status == 200


def test_a_stop_at_the_limit_is_length(engine: Running) -> None:
    assert engine.chat("words=9", max_tokens=2).json["choices"][0]["finish_reason"] == "length"
    assert stream(engine, "words=9", max_completion_tokens=2)[-2]["choices"][0]["finish_reason"] == "length"


def test_several_choices_have_seeds_of_their_own(engine: Running) -> None:
    whole = engine.chat("words=1 echo=seed", n=3, seed=10).json
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["10 ", "11 ", "12 "]
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert whole["usage"]["completion_tokens"] == 3
    assert whole["usage"]["prompt_tokens"] == 2
    chunks = stream(engine, "words=1 echo=seed", n=3, seed=10)
    assert [text_of(chunks, index) for index in range(3)] == ["10 ", "11 ", "12 "]
    assert sum(c["choices"][0]["finish_reason"] == "stop" for c in chunks[:-1] if c["choices"]) == 3
    assert [c["choices"][0]["index"] for c in chunks[:3]] == [0, 1, 2]


def test_logprobs_in_a_stream(engine: Running) -> None:
    chunks = stream(engine, "words=2", logprobs=True)
    entries = [c["choices"][0]["logprobs"]["content"][0] for c in chunks[1:3]]
    assert [(entry["token"], entry["logprob"], entry["top_logprobs"]) for entry in entries] == [
        ("w0 ", -0.5, []),
        ("w1 ", -0.5, []),
    ]


def test_timings_per_token(engine: Running) -> None:
    chunks = stream(engine, "words=3", timings_per_token=True)
    assert [c["timings"]["predicted_n"] for c in chunks[1:4]] == [1, 2, 3]


def test_the_deterministic_setting_is_another_load(engine: Running) -> None:
    plain = engine.chat("words=1").json["fireside"]
    exact = engine.chat("words=1", fireside={"deterministic": True}).json["fireside"]
    assert (plain["deterministic"], exact["deterministic"]) == (False, True)
    assert len([m for m in engine.status()["models"] if m["name"] == "Small" and m["state"] == "ready"]) == 2
    assert engine.ask("POST", "/fireside/unload", {"model": "small"}, owner=True).json["unloaded"] is True


def test_progress_of_a_load_and_of_a_prompt_on_request_only(engine: Running) -> None:
    chunks = stream(engine, "words=1", model="slow-one", return_progress=True)
    loading = [chunk["fireside"] for chunk in chunks[:-1] if "stage" in chunk.get("fireside", {})]
    assert [step["stage"] for step in loading] == ["loading"] * 5
    assert {step["model"] for step in loading} == {"slow-one"}
    assert [step["fraction"] for step in loading] == sorted(step["fraction"] for step in loading)
    (progress,) = [chunk["prompt_progress"] for chunk in chunks[:-1] if "prompt_progress" in chunk]
    assert progress == {"total": 1, "cache": 1, "processed": 1, "time_ms": 0.5}
    assert chunks[-2]["fireside"]["load_ms"] > 400
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"

    quiet = stream(engine, "words=1", model="slow-one")
    assert not [chunk for chunk in quiet[:-1] if "prompt_progress" in chunk or not chunk["choices"]]
    assert quiet[-2]["fireside"]["load_ms"] == 0


def test_a_prompt_that_does_not_fit_is_a_400_even_for_a_stream(engine: Running) -> None:
    for fields in ({}, {"stream": True}, {"stream": True, "return_progress": True}):
        reply = engine.chat("a b fail=context", **fields)
        assert reply.status == 400
        error = reply.json["error"]
        assert error["type"] == "exceed_context_size_error"
        assert (error["n_prompt_tokens"], error["n_ctx"]) == (3, 8)
        assert error["code"] == "context_exceeded"


def test_a_failure_in_the_middle_is_the_last_event(engine: Running) -> None:
    *chunks, last = stream(engine, "words=9 fail=late at=2")
    assert text_of(chunks) == "w0 w1 "
    assert last["error"]["code"] == "internal_error"
    assert last["error"]["message"] == "It failed late."


def test_a_stream_that_waits_shows_that_it_lives(engine: Running) -> None:
    reply = engine.chat("words=1 prefill=0.9", stream=True)
    assert reply.body.count(b": ping\n\n") >= 1
    assert text_of(events(reply.body)) == "w0 "


def test_headers_leave_although_the_answer_has_to_wait(engine: Running) -> None:
    """The only slot is taken for longer than a stream holds its headers back."""
    first = engine.begin_chat("words=99 delay=0.1", "single-slots1", stream=True)
    second = engine.begin_chat("fail=context", "single-slots1", stream=True)
    assert second.response.status == 200
    assert engine.model("single-slots1")["waiting"] == 1
    first.close()
    *_, last = events(second.read())
    assert last["error"]["type"] == "exceed_context_size_error"


def test_four_streams_at_once_each_get_their_own_text(engine: Running) -> None:
    texts: dict[int, str] = {}

    def ask(seed: int) -> None:
        texts[seed] = text_of(stream(engine, "words=20 echo=seed delay=0.001", seed=seed))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {seed: f"{seed} " * 20 for seed in range(4)}


def test_no_model_named_means_the_one_loaded_last(engine: Running) -> None:
    for model in ("single-slots1", "slow-one"):
        engine.ask("POST", "/fireside/unload", {"model": model}, owner=True)
        assert engine.ask("POST", "/fireside/load", {"model": model}, owner=True).status == 200
        for name in ("", "default", "DEFAULT:latest"):
            reply = engine.chat("words=1", model=name).json
            assert reply["model"] == model
            assert "loaded last" in reply["fireside"]["reason"]
    assert engine.chat("words=1", model="Small:latest").json["model"] == "Small"


def test_what_is_no_request_is_a_400_and_leaves_the_worker_alone(engine: Running) -> None:
    pid = until(lambda: engine.chat("words=1").status == 200 and engine.model("Small"))["pid"]
    for body in (b"", b"{", b"[]", b'{"messages":[]}', b'{"messages":[{"role":"user","content":"x"}],"n":0}'):
        reply = engine.ask("POST", "/v1/chat/completions", body)
        assert reply.status == 400
        assert reply.json["error"]["type"] == "invalid_request_error"
    assert engine.model("Small")["pid"] == pid


def test_names_are_not_paths(engine: Running) -> None:
    path = str(Path(engine.model("Small")["path"]))
    for name in (path, f"../models/{Path(path).name}", "small\n", "small\x00", "x" * 10_000, "/etc/passwd", "~"):
        reply = engine.chat("words=1", model=name)
        assert reply.status == 404, name
        assert engine.ask("GET", "/v1/models/..%2f..%2fetc%2fpasswd").status == 404


def test_a_large_body_is_read_beside_a_running_stream(engine: Running) -> None:
    reply = engine.chat("words=1 " + "x " * 1_000_000)
    assert reply.status == 200
    assert reply.json["usage"]["prompt_tokens"] == 1_000_001


def test_unknown_paths_and_methods_are_refused_in_json(engine: Running) -> None:
    for path in ("/nothing", "/v1", "/v1/chat/completions/", "/health/", "//health"):
        reply = engine.ask("GET", path)
        assert reply.status == 404, path
        assert reply.json["error"]["type"] == "not_found_error"
    assert engine.ask("GET", "/v1/chat/completions").status == 405
    assert engine.ask("DELETE", "/v1/models").json["error"]["code"] == "method_not_allowed"


def test_the_small_routes(engine: Running) -> None:
    assert engine.ask("GET", "/health").json == {"status": "ok"}
    root = engine.ask("GET", "/")
    assert (root.status, root.headers["server"]) == (200, "fireside")
    assert engine.ask("HEAD", "/").body == b""
