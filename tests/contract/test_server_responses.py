"""`/v1/responses` through OpenAI's SDK, and what Codex sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import openai
import pytest

from fake_engine import Running, running_apart
from fireside_engine.core.request import Message
from fireside_engine.server.responses_request import turns_of
from fireside_engine.server.responses_store import MOST, Kept, ResponsesStore

CALL = '<tool_call>{"name": "shell", "arguments": {"command": "ls"}}</tool_call>'
SHELL: Any = {"type": "function", "name": "shell", "parameters": {"type": "object"}, "strict": False}
FIELDS = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id",
    "instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p",
    "presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "max_output_tokens",
    "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small", api_key="one\ntwo") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="one", max_retries=0, timeout=20) as client:
        yield client


def test_a_whole_response(client: openai.OpenAI) -> None:
    response = client.responses.create(model="small", input="words=3 two", instructions="Be brief.")
    assert response.output_text == "w0 w1 w2 "
    assert (response.status, response.model, response.object) == ("completed", "small", "response")
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (4, 3, 7)
    assert response.usage.input_tokens_details.cached_tokens == 1
    assert set(response.to_dict()) >= FIELDS


def test_every_event_of_a_stream(client: openai.OpenAI) -> None:
    prompt = f"say={quote(f'<think>Hm</think>I look. {CALL}')} cut=4"
    events = list(client.responses.create(model="small", input=prompt, tools=[SHELL], stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    once = list(dict.fromkeys(kinds))
    assert once == [
        "created", "in_progress", "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "content_part.added",
        "output_text.delta", "output_text.done", "content_part.done", "function_call_arguments.delta",
        "function_call_arguments.done", "completed",
    ]  # fmt: skip
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["reasoning", "message", "function_call"]
    assert last.response.usage is not None
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.to_dict() for item in done] == [item.to_dict() for item in last.response.output]
    ids = {event.item_id for event in events if hasattr(event, "item_id")}
    assert ids == {item.id for item in last.response.output}
    arguments = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert json.loads(arguments) == {"command": "ls"}


def test_the_sdk_puts_a_stream_together(client: openai.OpenAI) -> None:
    with client.responses.stream(model="small", input="words=3") as stream:
        assert stream.get_final_response().output_text == "w0 w1 w2 "


def test_codex_is_understood(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="small",
        input=[
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Rules."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Go."}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "shell", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "ok"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": f"say={quote(CALL)}"}]},
        ],
        tools=[SHELL, {"type": "namespace", "name": "n", "tools": [SHELL]}, {"type": "web_search"}],
        tool_choice="auto",
        parallel_tool_calls=True,
        reasoning={"summary": "auto"},
        store=False,
        include=["reasoning.encrypted_content"],
        prompt_cache_key="k",
        extra_body={"client_metadata": {"a": "b"}},
    )  # fmt: skip
    (call,) = response.output
    assert call.type == "function_call"
    assert (call.name, json.loads(call.arguments)) == ("shell", {"command": "ls"})


def test_an_empty_question_loads_the_model(client: openai.OpenAI) -> None:
    """Codex preloads with it."""
    response = client.responses.create(model="small", input="", max_output_tokens=1)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("given", [[], [{"type": "reasoning", "summary": []}], [{"type": "item_reference", "id": "x"}]])
def test_items_without_words_are_an_empty_question(client: openai.OpenAI, given: Any) -> None:
    """A prompt without any turn once reached the worker, whose template had nothing to begin with."""
    assert client.responses.create(model="small", input=given, max_output_tokens=2).output_text == "w0 w1 "


def test_a_response_goes_on_from_another(client: openai.OpenAI, engine: Running) -> None:
    first = client.responses.create(model="small", input="words=2 a b c", instructions="gone afterwards")
    second = client.responses.create(model="small", input="words=1", previous_response_id=first.id)
    assert second.usage is not None
    assert second.usage.input_tokens == 4 + 2 + 1, "what was asked, answered, and asked now; no instructions"
    assert client.responses.retrieve(first.id).output_text == "w0 w1 "
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="two", max_retries=0) as stranger:
        with pytest.raises(openai.BadRequestError, match="previous_response_id"):
            stranger.responses.create(model="small", input="x", previous_response_id=first.id)
        with pytest.raises(openai.NotFoundError):
            stranger.responses.retrieve(first.id)
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    unkept = client.responses.create(model="small", input="words=1", store=False)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="small", input="x", previous_response_id=unkept.id)


def test_a_failure_in_the_middle_is_an_event(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="small", input="words=5 fail=late", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"input": [{"role": "robot", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
        {"input": [{"role": "user", "content": ["x"]}]},
        {"input": "x", "background": True},
        {"input": "x", "text": {"format": {"type": "json_schema"}}},
        {"input": "x", "tool_choice": "required"},
    ],
)
def test_what_cannot_be_is_refused(engine: Running, fields: dict[str, Any]) -> None:
    headers = {"Authorization": "Bearer one"}
    assert engine.ask("POST", "/v1/responses", {"model": "small", **fields}, headers=headers).status == 400


def test_items_of_one_answer_are_one_turn() -> None:
    turns = turns_of(
        [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
            {"role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "1", "name": "a", "arguments": "{"},
            {"type": "function_call", "call_id": "2", "name": "b", "arguments": "{}"},
            {"type": "unheard_of"},
            {"role": "assistant", "content": "Two."},
        ]
    )
    assert [(turn.content, turn.reasoning, len(turn.tool_calls)) for turn in turns] == [
        ("I look.", "Hm", 2),
        ("Two.", "", 0),
    ]
    assert [call["function"]["arguments"] for call in turns[0].tool_calls] == ["{", {}]


def test_the_store_is_bounded() -> None:
    store = ResponsesStore()
    for index in range(MOST + 10):
        store.keep("", f"r{index}", Kept((Message("user", "x"),), {}))
    assert not store.forget("", "r9")
    assert store.forget("", "r10")
    store.keep("", "large", Kept((Message("user", "x" * (70 << 20)),), {}))
    assert not store.forget("", f"r{MOST}")
