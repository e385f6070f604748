"""A line that changes with every request does not cost the whole prompt its cache."""

from __future__ import annotations

import json
from typing import Any

from fireside_engine.core.moving import BILLING, steady, steady_text
from fireside_engine.core.request import ChatPrompt, Message
from fireside_engine.server.anthropic_request import count_prompt
from fireside_engine.server.ollama_request import chat_call as ollama_call
from fireside_engine.server.ollama_schema import ChatBody
from fireside_engine.server.openai_request import chat_call
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.responses_request import responses_call
from fireside_engine.server.responses_schema import ResponsesBody


def test_the_same_instructions_are_the_same_prompt_in_every_dialect() -> None:
    def prompts(number: int) -> list[Any]:
        line = f"{BILLING}: cc_version=2.1.{number}; cch={number:05};"
        joined = f"{line}\nYou are an agent."
        said = {"role": "user", "content": "hi"}
        parts = [{"type": "text", "text": line}, {"type": "text", "text": "You are an agent."}]
        openai_ways = [{"messages": [{"role": "system", "content": content}, said]} for content in (joined, parts)]
        found: list[Any] = [chat_call(json.dumps(body).encode()).requests[0].prompt for body in openai_ways]
        ollama_body = parse(ChatBody, json.dumps({"model": "m", **openai_ways[0]}).encode())
        found.append(ollama_call(ollama_body).requests[0].prompt)
        responses_body = parse(ResponsesBody, json.dumps({"instructions": joined, "input": "hi"}).encode())
        found.append(responses_call(responses_body, ()).requests[0].prompt)
        for system in (joined, parts):
            found.append(count_prompt(json.dumps({"system": system, "messages": [said]}).encode())[1])
        return [steady(prompt.messages) for prompt in found if isinstance(prompt, ChatPrompt)]

    one, two = prompts(1), prompts(2)
    assert one == two
    assert len(one) == 6
    assert all(turns[0] == Message("system", "You are an agent.") for turns in one)


def test_nothing_else_is_touched() -> None:
    quoted = Message("user", f"{BILLING}: what is that?")
    inside = Message("system", f"Never say {BILLING}.")
    assert steady((quoted, inside)) == (quoted, inside)
    assert steady_text(f"{BILLING}: a\n{BILLING}: b\n\nRules") == "Rules"
    assert steady_text(f"{BILLING}: a") == ""
