"""Calls of tools and thinking as OpenAI's clients get them, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import openai
import pytest

from fake_engine import Running, chat_body, events, running_apart

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>'
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "now"}},
]


def said(text: str, **told: Any) -> str:
    return " ".join([f"say={quote(text)}", *(f"{key}={value}" for key, value in told.items())])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_a_call_comes_whole(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": said(f"I look.\n\n{CALL}")}], tools=TOOLS
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I look."
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Bern"}
    assert call.id.startswith("call_")


def test_the_content_beside_a_call_is_null(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": said(CALL)}], tools=TOOLS
    )
    assert answer.choices[0].message.content is None


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_parallel_calls_are_streamed_with_index_and_id(client: openai.OpenAI, cut: int) -> None:
    """Clients fail on a missing id, and on calls that all have index 0 (ollama#15457)."""
    text = f'{CALL}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>'
    stream = client.chat.completions.create(
        model="small", messages=[{"role": "user", "content": said(text, cut=cut)}], tools=TOOLS, stream=True
    )
    names, ids, arguments, reasons = {}, {}, {0: "", 1: ""}, []
    for chunk in stream:
        (choice,) = chunk.choices
        reasons.append(choice.finish_reason)
        assert not choice.delta.content
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            if call.id:
                assert call.index not in ids
                ids[call.index], names[call.index] = call.id, call.function.name
            arguments[call.index] += call.function.arguments or ""
    assert names == {0: "get_weather", 1: "now"}
    assert len(set(ids.values())) == 2
    assert {index: json.loads(text) for index, text in arguments.items()} == {0: {"city": "Bern"}, 1: {}}
    assert reasons[-1] == "tool_calls"
    assert set(reasons[:-1]) == {None}


def test_the_sdk_puts_a_streamed_call_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="small", messages=[{"role": "user", "content": said(f"<think>Hm</think>{CALL}")}], tools=TOOLS
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Bern"}'
    extra = final.choices[0].message.model_extra
    assert extra is not None
    assert extra["reasoning_content"] == "Hm"


def test_one_call_where_only_one_is_wanted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="small",
        messages=[{"role": "user", "content": said(CALL + CALL)}],
        tools=TOOLS,
        parallel_tool_calls=False,
    )
    assert len(answer.choices[0].message.tool_calls or []) == 1


def test_without_tools_a_call_is_text(client: openai.OpenAI) -> None:
    for options in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        answer = client.chat.completions.create(
            model="small", messages=[{"role": "user", "content": said(CALL)}], **options
        )
        assert answer.choices[0].message.content == CALL
        assert answer.choices[0].finish_reason == "stop"


def test_thinking_is_no_content(engine: Running) -> None:
    text = "<think>\nOne two three four.\n</think>\n\nHello there"
    whole = engine.chat(said(text)).json
    message = whole["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("One two three four.", "Hello there")
    assert 0 < whole["usage"]["completion_tokens_details"]["reasoning_tokens"] < whole["usage"]["completion_tokens"]
    chunks = events(engine.chat(said(text), stream=True).body)[:-1]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "One two three four."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Hello there"
    assert all(set(delta) in ({"role", "content"}, {"content"}, {"reasoning_content"}, set()) for delta in deltas)


def test_thinking_that_the_template_opened_is_thinking(engine: Running) -> None:
    message = engine.chat(said("Hm.\n</think>\n\nYes.", opening=quote("<think>"))).json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")


def test_thinking_that_eats_the_limit_says_so(engine: Running) -> None:
    choice = engine.chat(said("<think>" + "x" * 100), max_tokens=3).json["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["content"] == ""


def test_thinking_stays_where_the_client_wants_it(engine: Running) -> None:
    reply = engine.chat(said("<think>a</think>b"), reasoning_format="none")
    assert reply.json["choices"][0]["message"] == {"role": "assistant", "content": "<think>a</think>b"}


def test_logprobs_come_with_words_that_are_held_back(engine: Running) -> None:
    chunks = events(engine.chat(said(CALL), tools=TOOLS, logprobs=True, stream=True).body)[:-1]
    entries = [entry for chunk in chunks for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert len(entries) == -(-len(CALL) // 5)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": 3}, "tool_choice"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "x" * 300}}]}, "tools[0].function.name"),
        ({"tools": TOOLS, "tool_choice": "required", "response_format": {"type": "json_object"}}, None),
    ],
)
def test_choices_that_cannot_be_are_refused(engine: Running, fields: dict[str, Any], param: str | None) -> None:
    reply = engine.ask("POST", "/v1/chat/completions", chat_body("words=1", **fields))
    assert reply.status == 400
    assert reply.json["error"].get("param") == param


def test_tools_that_are_no_functions_harm_nobody(engine: Running) -> None:
    """Codex sends namespaces and searches; a 400 would end its session (llama.cpp#20156)."""
    tools = [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "now"}]}]
    reply = engine.ask(
        "POST", "/v1/chat/completions", chat_body(said('{"name":"now"}'), tools=tools, tool_choice="auto")
    )
    assert reply.json["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "now"
