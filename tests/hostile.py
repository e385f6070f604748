"""Bodies of every dialect, and what can be wrong with each of their members."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Looks.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]},
    },
}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at":"sky"}'}}
SAMPLING = {
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "seed": 7, "stop": ["x"], "repeat_penalty": 1.1,
    "repeat_last_n": 64, "presence_penalty": 0.1, "frequency_penalty": 0.1,
}  # fmt: skip
OWN = {
    "deterministic": False, "regex": "a+", "conversation": "c", "speculate": "auto", "report": True, "draft": "auto",
    "save": False,
}  # fmt: skip
COMMON = {
    "model": "small", "stream": False, "stream_options": {"include_usage": True}, "max_tokens": 2, "n": 1,
    "top_n_sigma": 1.0, "ignore_eos": False, "timings_per_token": True, "return_progress": True, "keep_alive": "5m",
    "logit_bias": {"5": 1.0}, **SAMPLING,
}  # fmt: skip
RAW = {
    "n_predict": 2, "n_cmpl": 1, "n_probs": 1, "post_sampling_probs": False, "return_tokens": True, "n_indent": 1,
    "t_max_predict_ms": 500.0, "t_max_prompt_ms": 500.0, "response_fields": ["content", "timings/prompt_n"],
    "samplers": ["top_k"], "cache_prompt": True, "id_slot": 0, "lora": [],
}  # fmt: skip

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": None, "reasoning_content": "r", "tool_calls": [CALL]},
            {"role": "tool", "content": "blue", "tool_call_id": "c1", "name": "look"},
        ],
        "max_completion_tokens": 2, "logprobs": True, "top_logprobs": 2, "tools": [TOOL], "tool_choice": "auto",
        "parallel_tool_calls": True, "reasoning_format": "auto", "reasoning_effort": "low",
        "chat_template_kwargs": {"enable_thinking": False}, "add_generation_prompt": True,
        "response_format": {"type": "text", "json_schema": {"schema": {"type": "object"}}}, "user": "u",
        "metadata": {}, "store": False, "service_tier": "auto", "fireside": {**OWN, "regex": None}, **COMMON,
    },
    "/v1/completions": {
        "prompt": "hi", "suffix": "", "echo": False, "logprobs": 1, "best_of": 1, "fireside": OWN, **COMMON,
    },
    "/infill": {
        "input_prefix": "a", "input_suffix": "b", "input_extra": [{"filename": "f", "text": "t"}], "prompt": "p",
        **{name: value for name, value in COMMON.items() if name != "n"}, **RAW,
    },
    "/completion": {"prompt": ["a", 5, "b"], **COMMON, **RAW},
    "/v1/messages": {
        "model": "small", "max_tokens": 2, "stream": False, "temperature": 0.5, "top_p": 0.9, "top_k": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "sky"}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "blue", "is_error": False}],
            },
        ],
        "stop_sequences": ["x"], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "tools": [{"name": "look", "description": "d", "input_schema": TOOL["function"]["parameters"]}],  # type: ignore[index]
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "metadata": {"user_id": "u"}, "fireside": OWN,
    },
    "/v1/responses": {
        "model": "small", "instructions": "s", "stream": False, "max_output_tokens": 2, "temperature": 0.5,
        "top_p": 0.9, "presence_penalty": 0.1, "frequency_penalty": 0.1,
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "r"}], "content": []},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "blue"},
        ],
        "tools": [{"type": "function", **TOOL["function"]}],  # type: ignore[dict-item]
        "tool_choice": "auto", "parallel_tool_calls": True, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text", "name": "n", "schema": {}}, "verbosity": "low"}, "store": False,
        "previous_response_id": None, "metadata": {}, "truncation": "auto", "prompt_cache_key": "k",
        "background": False, "fireside": OWN,
    },
    "/api/chat": {
        "model": "small", "stream": False, "keep_alive": "5m", "think": False, "format": "", "logprobs": True,
        "top_logprobs": 2, "tools": [TOOL], "options": {"num_predict": 2, "num_ctx": 2048, **SAMPLING},
        "messages": [
            {"role": "user", "content": "hi", "images": []},
            {
                "role": "assistant", "content": "", "thinking": "t",
                "tool_calls": [{"function": {"name": "look", "arguments": {"at": "sky"}}}],
            },
            {"role": "tool", "content": "blue", "tool_name": "look"},
        ],
    },
    "/api/generate": {
        "model": "small", "prompt": "hi", "suffix": "", "system": "s", "template": "", "raw": False, "stream": False,
        "images": [], "context": [], "format": "", "think": False, "keep_alive": 300, "logprobs": True,
        "top_logprobs": 2, "options": {"num_predict": 2, **SAMPLING},
    },
    "/v1/embeddings": {"model": "small", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2},
    "/api/embed": {"model": "small", "input": ["a"], "keep_alive": "5m", "dimensions": 2, "truncate": True},
    "/api/embeddings": {"model": "small", "prompt": "a", "keep_alive": "5m"},
    "/tokenize": {
        "model": "small", "content": "a", "add_special": True, "parse_special": True, "with_pieces": True,
    },
    "/detokenize": {"model": "small", "tokens": [1, 2]},
    "/v1/messages/count_tokens": {"model": "small", "messages": [{"role": "user", "content": "hi"}]},
    "/apply-template": {"model": "small", "messages": [{"role": "user", "content": "hi"}]},
}  # fmt: skip

RAW_VALUES = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e308", b"-1e308", b"-1", b"0", b"0.5",
    b"9223372036854775808", b"18446744073709551616", b"-9223372036854775809", b"1" + b"0" * 400, b'"5"', b'""', b"true",
    b"null", b"[]", b"{}", b"[1]", b'[null]', b'[{}]', b'[["a"]]', b'{"a":[1]}', b'"\\ud800"', b'"\\u0000"', b"1e-320",
    b'"[[[[' + b"[" * 900 + b"]" * 900 + b']]]]"', b"[" * 150 + b"]" * 150, b'"\\"\\\\ud800\\""', b'"\xff\xfe"',
    b"[" + b"1," * 20_000 + b"1]", b'{"' + b"k" * 5000 + b'":1}',
)  # fmt: skip
"""JSON, and what some call JSON."""

_MARK = "\x01here\x01"


def mutants(body: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The body with each value in place of each of its members, at any depth; with where and what."""
    for path in _paths(body):
        template = json.dumps(_put(body, path, _MARK)).encode()
        before, _, after = template.partition(json.dumps(_MARK).encode())
        for value in RAW_VALUES:
            yield f"{'.'.join(map(str, path))}={value[:30]!r}", before + value + after


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if before:
        yield before
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inner in steps:
        yield from _paths(inner, (*before, step))


def _put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _put(value[path[0]], path[1:], new)
    return copy
