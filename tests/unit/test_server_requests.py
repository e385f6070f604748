"""What the chat endpoint understands, and how it says what it does not."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine import errors
from fireside_engine.core.request import ChatPrompt, Constraint, SamplingParams
from fireside_engine.server.openai_request import SEED_BITS, ChatCall, chat_call
from fireside_engine.server.openai_schema import seconds

USER = {"role": "user", "content": "Hello"}
FIELDS = (
    "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "temperature", "top_p", "top_k",
    "min_p", "seed", "logit_bias", "logprobs", "top_logprobs", "stop", "response_format", "tools", "tool_choice",
    "keep_alive", "fireside", "chat_template_kwargs", "json_schema", "grammar",
)  # fmt: skip
"""Everything that may be absent."""


def call(**fields: Any) -> ChatCall:
    return chat_call(json.dumps({"messages": [USER], **fields}).encode())


def prompt_of(messages: list[Any], **fields: Any) -> ChatPrompt:
    prompt = call(messages=messages, **fields).requests[0].prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt


def refusal(**fields: Any) -> errors.InvalidRequest:
    with pytest.raises(errors.InvalidRequest) as caught:
        call(**fields)
    return caught.value


def test_a_bare_call_gets_the_defaults_and_a_seed_that_doubles_can_hold() -> None:
    understood = call()
    (request,) = understood.requests
    assert request.id == understood.id
    assert request.max_tokens is None
    assert request.stop == ()
    assert request.constraint is None
    assert 0 <= request.sampling.seed < 2**SEED_BITS
    assert float(request.sampling.seed) == request.sampling.seed
    assert request.sampling == SamplingParams(seed=request.sampling.seed)
    assert call().seed != call().seed


def test_null_is_absent_and_unknown_fields_are_ignored() -> None:
    nulls = dict.fromkeys(FIELDS)
    assert call(**nulls, store=False, user="x", unheard_of={"of": 1}).requests[0].max_tokens is None
    assert call(fireside={"speculate": "auto", "conversation": "c"}).deterministic is None


def test_values_arrive_where_they_belong() -> None:
    understood = call(
        model="m", temperature=0, top_p=0.5, top_k=7, min_p=0.1, seed=42, presence_penalty=1, frequency_penalty=-1,
        repeat_penalty=1.1, repeat_last_n=-1, logit_bias={"5": -100, "6": 1.5}, logprobs=True, top_logprobs=3,
        stop="END", max_tokens=9, ignore_eos=True, stream=True, stream_options={"include_usage": True},
        return_progress=True, timings_per_token=True, keep_alive="5m", fireside={"deterministic": True},
    )  # fmt: skip
    (request,) = understood.requests
    assert request.sampling == SamplingParams(
        temperature=0, top_p=0.5, top_k=7, min_p=0.1, seed=42, presence_penalty=1, frequency_penalty=-1,
        repeat_penalty=1.1, penalty_last_n=-1, logit_bias=((5, -100.0), (6, 1.5)), logprobs=3,
    )  # fmt: skip
    assert (request.stop, request.max_tokens, request.ignore_eos) == (("END",), 9, True)
    assert (understood.model, understood.stream, understood.include_usage) == ("m", True, True)
    assert (understood.return_progress, understood.timings_per_token, understood.deterministic) == (True, True, True)
    assert understood.keep_alive == 300


def test_the_newer_name_of_the_limit_wins_and_minus_one_is_no_limit_where_llama_server_says_so() -> None:
    assert call(max_tokens=5, max_completion_tokens=6).requests[0].max_tokens == 6
    assert call(n_predict=0).requests[0].max_tokens == 0
    assert call(n_predict=-1).requests[0].max_tokens is None


def test_choices_differ_in_nothing_but_seed_and_id() -> None:
    requests = call(n=3, seed=2**64 - 2).requests
    assert [request.sampling.seed for request in requests] == [2**64 - 2, 2**64 - 1, 0]
    assert len({request.id for request in requests}) == 3
    assert len({request.prompt.messages for request in requests if isinstance(request.prompt, ChatPrompt)}) == 1


@pytest.mark.parametrize(("given_seed", "seed"), [(0, 0), (2**64 - 1, 2**64 - 1), (-2, 2**64 - 2)])
def test_seeds_are_taken_modulo_two_to_the_64(given_seed: int, seed: int) -> None:
    assert call(seed=given_seed).seed == seed


def test_messages_of_every_shape() -> None:
    prompt = prompt_of(
        [
            {"role": "developer", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "user", "content": "Weather?", "name": "ann"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"city":"Rome"}'}},
                    {"function": {"name": "g", "arguments": "not json"}},
                ],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": None},
        ],
        tools=[{"type": "function", "function": {"name": "f"}}, {"type": "web_search"}],
    )
    system, user, assistant, tool = prompt.messages
    assert (system.role, system.content) == ("system", "one\ntwo")
    assert (user.name, user.content) == ("ann", "Weather?")
    assert (assistant.content, assistant.reasoning) == ("", "hm")
    assert assistant.tool_calls[0]["function"] == {"name": "f", "arguments": {"city": "Rome"}}
    assert assistant.tool_calls[1]["function"] == {"name": "g", "arguments": "not json"}
    assert (tool.role, tool.content, tool.tool_call_id) == ("tool", "sunny", None)
    assert [tool["function"]["name"] for tool in prompt.tools] == ["f"]
    assert prompt_of([USER], tools=[{"type": "function"}], tool_choice="none").tools == ()


def test_template_switches() -> None:
    prompt = prompt_of([USER], chat_template_kwargs={"enable_thinking": False}, reasoning_effort="low")
    assert prompt.template_args == {"enable_thinking": False, "reasoning_effort": "low"}
    assert prompt.add_generation_prompt
    assert not prompt_of([USER], add_generation_prompt=False).add_generation_prompt
    assert refusal(continue_final_message=True).details["param"] == "continue_final_message"


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Constraint("json_object")),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            Constraint("json_schema", '{"type":"object"}'),
        ),
        ({"response_format": {"type": "json_object", "schema": {}}}, Constraint("json_schema", "{}")),
        ({"json_schema": {"type": "string"}}, Constraint("json_schema", '{"type":"string"}')),
        ({"grammar": "root ::= 'a'"}, Constraint("gbnf", "root ::= 'a'")),
        ({"fireside": {"regex": "a+"}}, Constraint("regex", "a+")),
        ({"fireside": {"lark": 'start: "a"'}}, Constraint("lark", 'start: "a"')),
    ],
)
def test_constraints(fields: dict[str, Any], constraint: Constraint | None) -> None:
    assert call(**fields).requests[0].constraint == constraint


def test_two_constraints_contradict_each_other() -> None:
    assert "grammar and fireside.regex" in refusal(grammar="root ::= 'a'", fireside={"regex": "a"}).message
    assert "schema" in refusal(response_format={"type": "json_schema", "json_schema": {"name": "x"}}).message


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", [-0.1, 5.1, "1", True, [], {}]),
        ("top_p", [-0.1, 1.1, -1, "x"]),
        ("min_p", [-0.1, 1.1]),
        ("top_k", [-2, 1.5, 2**31, "5", True]),
        ("n", [0, 9, -1, 1.5]),
        ("max_tokens", [-2, 1.5, "5", True]),
        ("max_completion_tokens", [-2]),
        ("n_predict", [-3]),
        ("seed", [2**64, -(2**63) - 1, 1.5, "5"]),
        ("top_logprobs", [-1, 21]),
        ("repeat_penalty", [0, -1]),
        ("presence_penalty", [101]),
        ("stop", [["x"] * 33, 5, [5], ["x" * 1025]]),
        ("logit_bias", [{"x": 1}, {"-1": 1}, {"1": "x"}, {"²": 1}, [[1, 2]]]),
        ("stream", ["true", 1]),
        ("messages", [[], None, "x", {}]),
        ("keep_alive", ["x", True, "5 parsecs", 1e300, []]),
        ("response_format", [{"type": "xml"}, "json"]),
        ("model", [5]),
    ],
)
def test_values_out_of_range_are_refused_by_the_name_of_their_field(field: str, values: list[object]) -> None:
    for value in values:
        error = refusal(**{field: value})
        assert error.message.startswith(field), value
        assert str(error.details["param"]).startswith(field)


@pytest.mark.parametrize("number", ["1e999", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    for field in ("temperature", "top_p", "presence_penalty"):
        with pytest.raises(errors.InvalidRequest):
            chat_call(b'{"messages":[{"role":"user","content":"x"}],"%s":%s}' % (field.encode(), number.encode()))
    with pytest.raises(errors.InvalidRequest):
        chat_call(b'{"messages":[{"role":"user","content":"x"}],"logit_bias":{"1":%s}}' % number.encode())


@pytest.mark.parametrize(
    ("part", "word"),
    [
        ({"type": "image_url", "image_url": {"url": "data:secret"}}, "images"),
        ({"type": "input_audio", "input_audio": {}}, "audio"),
        ({"type": "file"}, "files"),
        ({"type": "hologram"}, "parts of this type"),
        ({"type": "text"}, "no text"),
        (5, "neither"),
    ],
)
def test_what_is_not_text_is_refused_in_words(part: object, word: str) -> None:
    error = refusal(messages=[USER, {"role": "user", "content": [{"type": "text", "text": "look"}, part]}])
    assert error.message.startswith("messages[1].content: part 1")
    assert word in error.message
    assert "secret" not in str(error)


def test_an_unknown_role_is_refused() -> None:
    assert refusal(messages=[{"role": "wizard", "content": "x"}]).message.startswith("messages[0].role")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"{} {}", b"\xff", b'{"messages": "\\ud800"}', b"[" * 100_000, b'{"a":' * 5000],
    ids=["empty", "cut", "list", "null", "two", "latin", "surrogate", "deep list", "deep object"],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        chat_call(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(("messages", *FIELDS))


@given(st.dictionaries(names, json_values, max_size=5), st.booleans())
def test_any_json_is_understood_or_refused(fields: dict[str, Any], with_messages: bool) -> None:
    body = {**fields, **({"messages": [USER]} if with_messages else {})}
    try:
        understood = chat_call(json.dumps(body).encode())
    except errors.RequestError as error:
        assert error.message
    else:
        assert 1 <= len(understood.requests) <= 8
        assert all(math.isfinite(bias) for _, bias in understood.requests[0].sampling.logit_bias)


@given(st.text(alphabet="abcdefgh", min_size=12, max_size=20), names)
def test_refusals_never_quote_what_was_sent(secret: str, field: str) -> None:
    for value in (secret, [secret], {"type": secret}, [{"role": secret, "content": secret}]):
        try:
            call(**{field: value})
        except errors.FiresideError as error:
            assert secret not in json.dumps(error.to_dict())


@pytest.mark.parametrize(
    ("text", "expected"),
    [(5, 5), ("5", 5), ("5m", 300), ("1h30m", 5400), ("300ms", 0.3), (0, 0), (-1, -1), ("-1", -1), ("-5m", -1)],
)
def test_durations(text: object, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)
