"""Anthropic's SDK against the engine, and what Claude Code sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import anthropic
import pytest

from fake_engine import Running, running_apart
from fireside_engine.server.anthropic_request import count_prompt, messages_call

CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>'
TOOLS: list[Any] = [
    {
        "name": "get_weather",
        "description": "The weather.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        "cache_control": {"type": "ephemeral"},
    }
]
THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=engine.url, api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_a_whole_answer(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model="small", max_tokens=99, messages=asked("words=3 two"), system="Be brief.")
    (block,) = message.content
    assert block.type == "text"
    assert block.text == "w0 w1 w2 "
    assert (message.role, message.type, message.model) == ("assistant", "message", "small")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 3)
    assert message.usage.cache_read_input_tokens == 1
    assert message.id.startswith("msg_")
    assert message.model_extra == {}


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_turn_without_blocks_is_a_turn(client: anthropic.Anthropic, role: Any) -> None:
    """It once became no turn at all, and the worker got a prompt without any."""
    turns: Any = [{"role": role, "content": []}]
    assert client.messages.create(model="small", max_tokens=2, messages=turns).usage.output_tokens == 2
    assert client.messages.count_tokens(model="small", messages=turns).input_tokens == 0


def test_the_limit_and_a_stop_sequence_are_told(client: anthropic.Anthropic) -> None:
    assert client.messages.create(model="small", max_tokens=2, messages=asked("words=9")).stop_reason == "max_tokens"
    stopped = client.messages.create(
        model="small", max_tokens=9, messages=asked("words=2 stopped=END"), stop_sequences=["END"]
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")


def test_a_stream(client: anthropic.Anthropic) -> None:
    with client.messages.stream(model="small", max_tokens=99, messages=asked("words=3")) as stream:
        assert "".join(stream.text_stream) == "w0 w1 w2 "
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == 3


def test_events_come_in_their_order(client: anthropic.Anthropic) -> None:
    prompt = f"say={quote(f'<think>Hm</think>I look. {CALL}')} cut=4"
    stream = client.messages.create(
        model="small", max_tokens=99, messages=asked(prompt), tools=TOOLS, thinking=THINKING, stream=True
    )
    events = list(stream)
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    starts = [event for event in events if event.type == "content_block_start"]
    assert [(start.index, start.content_block.type) for start in starts] == [
        (0, "thinking"),
        (1, "text"),
        (2, "tool_use"),
    ]
    stops = [event.index for event in events if event.type == "content_block_stop"]
    assert stops == [0, 1, 2]
    deltas = [(event.index, event.delta) for event in events if event.type == "content_block_delta"]
    assert "".join(delta.thinking for _, delta in deltas if delta.type == "thinking_delta") == "Hm"
    assert "".join(delta.text for _, delta in deltas if delta.type == "text_delta") == "I look."
    partial = "".join(delta.partial_json for _, delta in deltas if delta.type == "input_json_delta")
    assert json.loads(partial) == {"city": "Bern"}
    assert [index for index, delta in deltas if delta.type == "signature_delta"] == [0]
    assert starts[2].content_block.type == "tool_use"
    assert starts[2].content_block.input == {}
    assert events[0].type == "message_start"
    assert events[0].message.usage.input_tokens > 0
    assert events[-2].type == "message_delta"
    assert events[-2].delta.stop_reason == "tool_use"


def test_a_call_comes_whole(client: anthropic.Anthropic) -> None:
    message = client.messages.create(
        model="small", max_tokens=99, messages=asked(f"say={quote(CALL)}"), tools=TOOLS, tool_choice={"type": "auto"}
    )
    (block,) = message.content
    assert block.type == "tool_use"
    assert (block.name, block.input) == ("get_weather", {"city": "Bern"})
    assert message.stop_reason == "tool_use"


def test_thinking_is_shown_to_those_who_asked(client: anthropic.Anthropic) -> None:
    prompt = f"say={quote('<think>Hm</think>Yes')}"
    shown = client.messages.create(model="small", max_tokens=99, messages=asked(prompt), thinking=THINKING)
    assert [block.type for block in shown.content] == ["thinking", "text"]
    hidden = client.messages.create(model="small", max_tokens=99, messages=asked(prompt))
    assert [block.type for block in hidden.content] == ["text"]


def test_tokens_are_counted(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="small", messages=asked("12345"), tools=TOOLS)
    assert counted.to_dict() == {"input_tokens": 5}


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    (model,) = [model for model in client.models.list() if model.id == "small"]
    assert (model.id, model.type, model.display_name) == ("small", "model", "small")
    assert client.models.retrieve("small").id == "small"


def test_errors_have_its_shape(client: anthropic.Anthropic, engine: Running) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="nobody", max_tokens=1, messages=asked("x"))
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError, match="too long"):
        client.messages.create(model="small", max_tokens=1, messages=asked("fail=context"))
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="small", max_tokens=-1, messages=asked("x"))
    wrong = engine.ask("GET", "/v1/messages").json
    assert wrong["type"] == "error"
    stream = engine.ask(
        "POST", "/v1/messages", {"messages": asked("words=5 fail=late"), "stream": True, "model": "small"}
    )
    assert b"event: error\ndata: " in stream.body
    assert json.loads(stream.body.decode().strip().split("data: ")[-1])["error"]["type"] == "api_error"


CLAUDE_CODE: dict[str, Any] = {
    "model": "small",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=abc", "cache_control": {"type": "x"}},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look."}]},
        {"role": "system", "content": "A reminder."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "x"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Bern"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result", "tool_use_id": "toolu_1", "is_error": True,
                    "content": [{"type": "text", "text": "rain"}],
                },
                {"type": "text", "text": "words=1", "cache_control": {"type": "ephemeral"}},
            ],
        },
    ],
    "tools": [*TOOLS, {"type": "web_search_20250305", "name": "web_search"}],
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": []},
    "output_config": {"effort": "high"},
    "metadata": {"user_id": "u"},
    "stream": True,
}  # fmt: skip


def test_claude_code_is_understood(engine: Running) -> None:
    assert engine.ask("HEAD", "/").status == 200
    headers = {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "Authorization": "Bearer x"}
    reply = engine.ask("POST", "/v1/messages?beta=true", CLAUDE_CODE, headers=headers)
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    call = messages_call(json.dumps(CLAUDE_CODE).encode())
    prompt: Any = call.requests[0].prompt
    roles = [(message.role, message.content) for message in prompt.messages]
    assert roles == [
        ("system", "You are an agent."), ("user", "Look."), ("system", "A reminder."), ("assistant", "I look."),
        ("tool", "Error: rain"), ("user", "words=1"),
    ]  # fmt: skip
    assert prompt.messages[3].reasoning == "Hm"
    assert prompt.messages[3].tool_calls[0]["function"]["arguments"] == {"city": "Bern"}
    assert prompt.messages[4].tool_call_id == "toolu_1"
    assert [tool["function"]["name"] for tool in prompt.tools] == ["get_weather"]
    assert prompt.template_args == {"enable_thinking": True, "reasoning_effort": "high"}


def test_what_changes_with_every_request_is_no_part_of_the_prompt() -> None:
    """Otherwise the whole prompt of an agent, 20,000 tokens, would be computed for each of its turns."""
    other = json.loads(json.dumps(CLAUDE_CODE).replace("cch=abc", "cch=def").replace('"ephemeral"', '"moved"'))
    del other["messages"][3]["content"][1]["cache_control"]
    assert count_prompt(json.dumps(other).encode()) == count_prompt(json.dumps(CLAUDE_CODE).encode())


def test_choices_become_forced_tools() -> None:
    def forced(choice: Any) -> Any:
        prompt: Any = messages_call(json.dumps({**CLAUDE_CODE, "tool_choice": choice}).encode()).requests[0].prompt
        return prompt.forced_tools, len(prompt.tools)

    assert forced({"type": "any"}) == (("get_weather",), 1)
    assert forced({"type": "tool", "name": "get_weather"}) == (("get_weather",), 1)
    assert forced({"type": "auto"}) == ((), 1)
    assert forced({"type": "none"}) == ((), 0)


def test_images_are_refused_in_words(engine: Running) -> None:
    body = {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": ""}}]}]}
    reply = engine.ask("POST", "/v1/messages", body)
    assert (reply.status, "images cannot be read" in reply.json["error"]["message"]) == (400, True)
