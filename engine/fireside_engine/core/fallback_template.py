"""Chat templates for models that bring none: Jinja like any other, so that there is one way to render."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

CHATML = """\
{%- if tools and messages[0]['role'] != 'system' %}
    {%- set messages = [{'role': 'system', 'content': ''}] + messages %}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + (message['role'] if message['role'] != 'tool' else 'user') + '\\n' }}
    {%- if message['role'] == 'tool' %}
        {{- '<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}
    {%- else %}
        {{- message['content'] }}
    {%- endif %}
    {%- if loop.first and tools %}
        {{- '\\n\\nTools you may call, one JSON object for each call inside <tool_call></tool_call>:\\n' }}
        {{- tools | tojson }}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- '\\n<tool_call>\\n' + ((call.function or call) | tojson) + '\\n</tool_call>' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

PLAIN = """\
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- message['content'] + '\\n\\n' }}
    {%- elif message['role'] == 'assistant' %}
        {{- 'Assistant: ' + message['content'] | trim + '\\n' }}
    {%- else %}
        {{- 'User: ' + message['content'] + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Assistant:' }}
{%- endif %}
"""


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """The template that a model is talked to with."""

    source: str
    """Jinja."""
    stop: tuple[str, ...]
    """Strings that end an answer, because the model knows no token for the end of a turn."""
    origin: Literal["model", "chatml", "plain"]


def chat_template(own: str | None, control_texts: Collection[str]) -> ChatTemplate:
    """The model's own template; else ChatML where the vocabulary has its tokens; else "User:" and "Assistant:" lines.

    Base models end plain turns by writing the other's next line, so those are stop strings.
    """
    if own and own.strip():
        return ChatTemplate(own, (), "model")
    if "<|im_start|>" in control_texts and "<|im_end|>" in control_texts:
        return ChatTemplate(CHATML, (), "chatml")
    return ChatTemplate(PLAIN, ("\nUser:", "\nAssistant:"), "plain")
