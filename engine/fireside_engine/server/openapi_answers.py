"""What answers look like, as JSON schemas for the OpenAPI document: the members that clients may count on.

Answers may have more members than are listed here; what is listed with `required` is always there.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
OBJECT: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def is_(value: str) -> Schema:
    return {"const": value}


def one_of(*values: str) -> Schema:
    return {"type": "string", "enum": list(values)}


def or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def having(optional: Schema | None = None, /, **members: Schema) -> Schema:
    """An object with these members, and perhaps those of `optional`."""
    return {"type": "object", "properties": {**members, **(optional or {})}, "required": list(members)}


_TIMINGS = having(cache_n=WHOLE, prompt_n=WHOLE, prompt_ms=NUMBER, predicted_n=WHOLE, predicted_ms=NUMBER)
_TOKEN_LOGPROB = having(token=TEXT, logprob=NUMBER, bytes=many(WHOLE))
_OLLAMA_END: Schema = {
    "done_reason": one_of("stop", "length", "load", "unload"),
    "total_duration": WHOLE,
    "load_duration": WHOLE,
    "prompt_eval_count": WHOLE,
    "prompt_eval_duration": WHOLE,
    "eval_count": WHOLE,
    "eval_duration": WHOLE,
    "logprobs": many(ANY),
}
_OLLAMA_DETAILS = having(
    parent_model=TEXT,
    format=is_("gguf"),
    family=TEXT,
    families=many(TEXT),
    parameter_size=TEXT,
    quantization_level=TEXT,
)
_OLLAMA_MODEL: Schema = {"name": TEXT, "model": TEXT, "size": WHOLE, "digest": TEXT, "details": _OLLAMA_DETAILS}

OPENAI: Schema = {
    "Model": having(
        {"context_length": or_null(WHOLE), "meta": OBJECT},
        id=TEXT,
        object=is_("model"),
        created=WHOLE,
        owned_by=TEXT,
        type=is_("model"),
        display_name=TEXT,
        created_at=TEXT,
    ),
    "ModelList": having(
        object=is_("list"),
        data=many(ref("Model")),
        has_more=FLAG,
        first_id=or_null(TEXT),
        last_id=or_null(TEXT),
    ),
    "Usage": having(
        {"completion_tokens_details": OBJECT},
        prompt_tokens=WHOLE,
        completion_tokens=WHOLE,
        total_tokens=WHOLE,
        prompt_tokens_details=having(cached_tokens=WHOLE),
    ),
    "Timings": _TIMINGS,
    "TokenLogprob": having({"top_logprobs": many(_TOKEN_LOGPROB)}, **_TOKEN_LOGPROB["properties"]),
    "ToolCall": having(id=TEXT, type=is_("function"), function=having(name=TEXT, arguments=TEXT)),
    "ChatCompletion": having(
        id=TEXT,
        object=is_("chat.completion"),
        created=WHOLE,
        model=TEXT,
        system_fingerprint=TEXT,
        choices=many(
            having(
                index=WHOLE,
                message=having(
                    {"reasoning_content": TEXT, "tool_calls": many(ref("ToolCall"))},
                    role=is_("assistant"),
                    content=or_null(TEXT),
                ),
                logprobs=or_null(having(content=many(ref("TokenLogprob")))),
                finish_reason=one_of("stop", "length", "tool_calls"),
            )
        ),
        usage=ref("Usage"),
        timings=ref("Timings"),
        fireside=having(route=TEXT, reason=TEXT, exact=FLAG, seed=WHOLE),
    ),
    "Completion": having(
        id=TEXT,
        object=is_("text_completion"),
        created=WHOLE,
        model=TEXT,
        system_fingerprint=TEXT,
        choices=many(
            having(
                text=TEXT,
                index=WHOLE,
                logprobs=or_null(having(tokens=many(TEXT), token_logprobs=many(or_null(NUMBER)))),
                finish_reason=one_of("stop", "length"),
            )
        ),
        usage=ref("Usage"),
        timings=ref("Timings"),
    ),
    "Embeddings": having(
        object=is_("list"),
        model=TEXT,
        data=many(
            having(object=is_("embedding"), index=WHOLE, embedding={"anyOf": [many(NUMBER), {"type": "string"}]}),
        ),
        usage=having(prompt_tokens=WHOLE, total_tokens=WHOLE),
    ),
    "Response": having(
        id=TEXT,
        object=is_("response"),
        created_at=WHOLE,
        completed_at=or_null(WHOLE),
        status=one_of("completed", "incomplete", "failed", "in_progress"),
        incomplete_details=or_null(having(reason=TEXT)),
        model=TEXT,
        previous_response_id=or_null(TEXT),
        instructions=or_null(TEXT),
        output=many(having(id=TEXT, type=one_of("message", "reasoning", "function_call"), status=TEXT)),
        error=or_null(OBJECT),
        tools=many(OBJECT),
        tool_choice=ANY,
        parallel_tool_calls=FLAG,
        text=OBJECT,
        usage=or_null(having(input_tokens=WHOLE, output_tokens=WHOLE, total_tokens=WHOLE)),
        store=FLAG,
        metadata=OBJECT,
    ),
    "ResponseDeleted": having(id=TEXT, object=is_("response"), deleted=FLAG),
}
ANTHROPIC: Schema = {
    "AnthropicMessage": having(
        id=TEXT,
        type=is_("message"),
        role=is_("assistant"),
        model=TEXT,
        content=many(having(type=one_of("text", "thinking", "tool_use"))),
        stop_reason=one_of("end_turn", "max_tokens", "tool_use", "stop_sequence"),
        stop_sequence=or_null(TEXT),
        usage=having(
            input_tokens=WHOLE, output_tokens=WHOLE, cache_creation_input_tokens=WHOLE, cache_read_input_tokens=WHOLE
        ),
    ),
    "AnthropicTokenCount": having(input_tokens=WHOLE),
}
OLLAMA: Schema = {
    "OllamaVersion": having(version=TEXT),
    "OllamaTags": having(
        models=many(having(**_OLLAMA_MODEL, modified_at=TEXT, capabilities=many(TEXT))),
    ),
    "OllamaRunning": having(
        models=many(having(**_OLLAMA_MODEL, expires_at=TEXT, size_vram=WHOLE, context_length=WHOLE)),
    ),
    "OllamaShown": having(
        modelfile=TEXT,
        parameters=TEXT,
        template=TEXT,
        details=_OLLAMA_DETAILS,
        model_info=OBJECT,
        capabilities=many(one_of("completion", "tools", "insert", "thinking", "embedding")),
        license=TEXT,
        modified_at=TEXT,
    ),
    "OllamaChat": having(
        _OLLAMA_END,
        model=TEXT,
        created_at=TEXT,
        message=having(
            {
                "thinking": TEXT,
                "tool_calls": many(having(function=having(name=TEXT, arguments=OBJECT))),
            },
            role=is_("assistant"),
            content=TEXT,
        ),
        done=FLAG,
    ),
    "OllamaGenerated": having({**_OLLAMA_END, "thinking": TEXT}, model=TEXT, created_at=TEXT, response=TEXT, done=FLAG),
    "OllamaEmbeddings": having(
        model=TEXT, embeddings=many(many(NUMBER)), total_duration=WHOLE, load_duration=WHOLE, prompt_eval_count=WHOLE
    ),
    "OllamaEmbedding": having(embedding=many(NUMBER)),
    "OllamaStatus": having(status=TEXT),
    "Removed": having(removed=many(OBJECT), busy=many(TEXT)),
}
_RESULT: Schema = having(
    {"completion_probabilities": many(OBJECT)},
    index=WHOLE,
    content=TEXT,
    tokens=many(WHOLE),
    id_slot=WHOLE,
    stop=FLAG,
    model=TEXT,
    tokens_predicted=WHOLE,
    tokens_evaluated=WHOLE,
    generation_settings=OBJECT,
    prompt=TEXT,
    has_new_line=FLAG,
    truncated=FLAG,
    stop_type=one_of("eos", "limit", "word"),
    stopping_word=TEXT,
    tokens_cached=WHOLE,
    timings=_TIMINGS,
)
LLAMACPP: Schema = {
    "Result": _RESULT,
    "Results": {
        "description": "One result, or a list where several were asked for; `response_fields` says of what.",
        "anyOf": [ref("Result"), many(OBJECT), OBJECT],
    },
    "Tokens": having(tokens=many({"anyOf": [WHOLE, having(id=WHOLE, piece=ANY)]})),
    "Content": having(content=TEXT),
    "Prompt": having(prompt=TEXT),
    "Props": having(
        default_generation_settings=having(n_ctx=WHOLE, params=OBJECT),
        total_slots=WHOLE,
        model_alias=TEXT,
        model_path=TEXT,
        chat_template=TEXT,
        bos_token=TEXT,
        eos_token=TEXT,
        modalities=OBJECT,
        build_info=TEXT,
        is_sleeping=FLAG,
    ),
    "Slots": many(having(id=WHOLE, is_processing=FLAG, n_ctx=WHOLE, model=TEXT)),
    "Health": having(status=TEXT),
}
_LM_MODEL = having(
    {"loaded_context_length": WHOLE},
    id=TEXT,
    object=is_("model"),
    type=one_of("llm", "embeddings"),
    publisher=TEXT,
    arch=TEXT,
    compatibility_type=is_("gguf"),
    quantization=TEXT,
    state=one_of("loaded", "not-loaded", "loading"),
    max_context_length=WHOLE,
    capabilities=many(TEXT),
)
LMSTUDIO: Schema = {
    "LmStudioModel": _LM_MODEL,
    "LmStudioModels": having(object=is_("list"), data=many(ref("LmStudioModel"))),
}
FIRESIDE: Schema = {
    "Hello": having(name=is_("fireside"), version=TEXT, protocol=WHOLE, pid=WHOLE, proof=TEXT),
    "Object": OBJECT,
}
ERRORS: Schema = {
    "Error": having(error=having(message=TEXT, type=TEXT, code=TEXT, hint=TEXT)),
    "AnthropicError": having(type=is_("error"), error=having(type=TEXT, message=TEXT)),
    "OllamaError": having(error=TEXT),
}

ANSWERS: Schema = {**OPENAI, **ANTHROPIC, **OLLAMA, **LLAMACPP, **LMSTUDIO, **FIRESIDE, **ERRORS}
