"""How a model marks thinking and tool calls, found out from its chat template. Sources: the templates of the families.

A template shows the calls of earlier turns in the model's own way, so what stands in it is what the model writes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["hermes", "llama3", "mistral", "gemma", "deepseek", "harmony"]


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The marks of one model."""

    kind: Kind = "hermes"
    think: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    """Pairs that open and close thinking."""
    visible: tuple[str, ...] = ()
    """Control tokens of the vocabulary that are marks, and therefore must be seen in the text."""
    call: tuple[str, str, str] = field(default=("", "", ""))
    """Gemma's opening mark, closing mark and quote."""


_HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>", "<|call|>", "<|return|>")
_MISTRAL = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]")
_DEEPSEEK = (
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
)  # fmt: skip
_TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
_GEMMA = (
    ("<start_function_call>", "<end_function_call>", "<escape>"),
    ("<|tool_call>", "<tool_call|>", '<|"|>'),
)
_GEMMA_THINK = ("<|channel>thought", "<channel|>")


def chat_format(template: str, control_texts: Collection[str]) -> ChatFormat:
    """The format of a model with this template and these control tokens; ChatML's where nothing else is to be seen."""
    if "<|channel|>" in template and "<|message|>" in template:
        return ChatFormat("harmony", visible=_known(_HARMONY, control_texts))
    if "[TOOL_CALLS]" in template or "[TOOL_CALLS]" in control_texts:
        think = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))
        return ChatFormat("mistral", think, _known((*_MISTRAL, *_TAGS), control_texts))
    for marks in _GEMMA:
        if marks[0] in template:
            think = (("<think>", "</think>"), _GEMMA_THINK)
            return ChatFormat("gemma", think, _known((*marks, "<|channel>", "<channel|>"), control_texts), marks)
    if _DEEPSEEK[0] in template:
        return ChatFormat("deepseek", visible=_known((*_DEEPSEEK, *_TAGS), control_texts))
    if "<|python_tag|>" in template or "<|python_tag|>" in control_texts:
        return ChatFormat("llama3", visible=_known(("<|python_tag|>", *_TAGS), control_texts))
    return ChatFormat("hermes", visible=_known(_TAGS, control_texts))


def _known(marks: tuple[str, ...], control_texts: Collection[str]) -> tuple[str, ...]:
    return tuple(mark for mark in marks if mark in control_texts)
