"""How a call is forced: what the prompt is given, and which language the rest must belong to."""

from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest

from fireside_engine.core.answers.choice import end_of_prompt, forced_call, without_thinking
from fireside_engine.core.answers.described import knows_tools, with_tools_described
from fireside_engine.core.answers.formats import ChatFormat, chat_format
from fireside_engine.core.answers.parser import answer_parser
from fireside_engine.core.answers.parts import CallArguments, CallStart, joined
from fireside_engine.core.request import Message

CITY = {"$defs": {"c": {"type": "string"}}, "properties": {"city": {"$ref": "#/$defs/c"}}, "required": ["city"]}
NODE = {"definitions": {"c": {"type": "integer"}}, "properties": {"n": {"$ref": "#/definitions/c"}}, "required": ["n"]}


def tool(name: str, parameters: Any = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TWO = [tool("weather", CITY), tool("count", NODE)]
HARMONY = chat_format("<|channel|><|message|>", ())
FORMS = {
    "hermes": (ChatFormat(), ""),
    "llama3": (chat_format("<|python_tag|>", ()), ""),
    "mistral": (chat_format("[TOOL_CALLS]", ()), "[TOOL_CALLS]"),
    "mistral, newer": (chat_format("[TOOL_CALLS]", ()), "[TOOL_CALLS][ARGS]"),
    "gemma": (chat_format("<start_function_call>", ()), ""),
    "deepseek": (chat_format("<｜tool▁calls▁begin｜>", ()), ""),
    "harmony": (HARMONY, ""),
}


def examples(schema: dict[str, Any]) -> Any:
    """A value of the schemas that are made here."""
    if "items" in schema:
        return [examples({**schema["items"], "$defs": schema.get("$defs", {})})]
    if "anyOf" in schema:
        return examples({**schema["anyOf"][0], "$defs": schema.get("$defs", {})})
    if "const" in schema:
        return schema["const"]
    if "$ref" in schema:
        *_, name = schema["$ref"].split("/")
        return examples({**schema["$defs"][name], "$defs": schema["$defs"]})
    if schema.get("type") == "object":
        definitions = schema.get("$defs", {})
        return {key: examples({"$defs": definitions, **value}) for key, value in schema["properties"].items()}
    return {"string": "Bern", "integer": 3}[schema["type"]]


@pytest.mark.parametrize("tools", [TWO, TWO[:1]])
@pytest.mark.parametrize("name", FORMS)
def test_what_the_constraint_allows_is_read_as_a_call(name: str, tools: list[Any]) -> None:
    form, template = FORMS[name]
    opening, constraint = forced_call(form, tools, "", template)
    schema = json.loads(constraint.source)
    assert not llguidance.LLMatcher.validate_grammar(llguidance.LLMatcher.grammar_from_json_schema(constraint.source))
    parser = answer_parser(form, {"weather": CITY, "count": NODE}, opening=opening.parser)
    parts = joined(parser.push(opening.parser) + parser.push(json.dumps(examples(schema))) + parser.finish())
    assert parts == [CallStart(0, "weather"), CallArguments(0, '{"city": "Bern"}')]


def test_definitions_of_two_tools_do_not_meet() -> None:
    _, constraint = forced_call(ChatFormat(), TWO, "", "")
    schema = json.loads(constraint.source)
    assert sorted(schema["$defs"].values(), key=str) == [{"type": "integer"}, {"type": "string"}]


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object", "$schema": "http://json-schema.org/draft-07"}])
def test_a_tool_without_a_schema_takes_any_object(parameters: Any) -> None:
    _, constraint = forced_call(ChatFormat(), [tool("now", parameters)], "", "")
    assert json.loads(constraint.source)["properties"]["arguments"] == {"type": "object"}


def test_thinking_that_the_template_opened_is_closed_first() -> None:
    form = ChatFormat()
    assert end_of_prompt(form, "…<|im_start|>assistant\n<think>\n") == "<think>"
    assert end_of_prompt(form, "…<think>\n\n</think>\n\n") == ""
    opening, _ = forced_call(form, TWO, "<think>", "")
    assert opening.prompt == "\n</think>\n\n<tool_call>\n"
    assert without_thinking(form, "") == ""
    assert without_thinking(HARMONY, "") == "<|channel|>final<|message|>"


def test_a_template_without_tools_gets_them_in_words() -> None:
    assert not knows_tools("{% for message in messages %}")
    turns = (
        Message("system", "Be brief."),
        Message("user", "Weather?"),
        Message("assistant", tool_calls=({"function": {"name": "weather", "arguments": {"city": "Bern"}}},)),
        Message("tool", "sunny", tool_call_id="1"),
    )
    first, *_, call, result = with_tools_described(turns, TWO)
    assert first.content.startswith("Be brief.\n\n")
    assert '"weather"' in first.content
    assert "<tool_call>" in call.content
    assert (result.role, "sunny" in result.content) == ("user", True)
    assert with_tools_described((Message("user", "x"),), TWO)[0].role == "system"
