"""LM Studio's discovery as Zed's strict types read it; and a request that kills its process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_engine import Running, chat_body, running, write_model


@pytest.fixture
def engine(home: Path) -> Iterator[Running]:
    write_model("small")
    with running(home / "journal", back_off=(0.0,)) as engine:
        yield engine


def test_models_have_what_zed_needs(engine: Running) -> None:
    (model,) = [model for model in engine.ask("GET", "/api/v0/models").json["data"] if model["id"] == "small"]
    assert (model["type"], model["compatibility_type"], model["state"]) == ("llm", "gguf", "not-loaded")
    assert {"publisher", "arch", "quantization", "max_context_length", "object"} <= set(model)
    reply = engine.ask("POST", "/api/v0/chat/completions", chat_body("words=1"))
    assert reply.json["choices"][0]["message"]["content"] == "w0 "
    model = engine.ask("GET", "/api/v0/models/small").json
    assert (model["state"], model["loaded_context_length"]) == ("loaded", 4096)
    unknown = engine.ask("POST", "/api/v0/chat/completions", chat_body("words=1", model="nobody"))
    assert unknown.json["error"]["type"] == "not_found_error"
    assert engine.ask("GET", "/api/v0/nothing").status == 404


def test_a_request_that_kills_its_process_is_refused_in_the_end(engine: Running) -> None:
    for stream in (False, True, False):
        engine.chat("crash=SIGKILL at=1", stream=stream)
    reply = engine.chat("crash=SIGKILL at=1")
    assert (reply.status, "died each time" in reply.json["error"]["message"]) == (400, True)
    assert engine.chat("words=1").status == 200
