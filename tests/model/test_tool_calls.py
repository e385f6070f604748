"""Real models call tools: forced ones with valid arguments, chosen ones where the model knows how."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fireside_engine.core.request import ChatPrompt, Message, Request, SamplingParams
from fireside_engine.core.scheduler import Scheduler
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.server.tools import functions, schemas_of
from fireside_engine.server.transcript import Said, Transcript
from fireside_engine.worker.loading import Ready, load
from fireside_engine.worker.protocol import LoadOptions

pytestmark = pytest.mark.model

WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "Get the current weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
}
CLOCK: dict[str, Any] = {"name": "get_time", "description": "Get the time of a city.", "parameters": None}
TOOLS = functions([{"type": "function", "function": WEATHER}, {"type": "function", "function": CLOCK}])
ASKED = (Message("user", "What is the weather in Paris, in celsius?"),)


def loaded(path: Path, home: Path) -> Ready:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRESIDE_HOME", str(home))
        return load(path, LoadOptions(n_ctx=1024, n_slots=1), lambda stage, fraction: None)


@pytest.fixture(scope="module")
def small(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """Its template knows of no tools."""
    ready = loaded(smollm2, tmp_path_factory.mktemp("home"))
    yield ready
    ready.close()


@pytest.fixture(scope="module")
def coder(qwen_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ready]:
    """Its template has tools in the way of Hermes."""
    ready = loaded(qwen_small, tmp_path_factory.mktemp("home"))
    yield ready
    ready.close()


def answer(ready: Ready, messages: tuple[Message, ...], *forced: str) -> Said:
    prompt = ChatPrompt(messages, TOOLS, forced)
    request = Request("r", prompt, SamplingParams(temperature=0), max_tokens=80)
    transcript = Transcript([request], schemas_of(TOOLS))
    transcript.speaks(ready.info.chat_format)
    scheduler, runner = Scheduler(ready.rules), LlamaRunner(ready.context)
    ready.context.clear()
    scheduler.submit(ready.preparer.prepare(request))
    while step := scheduler.schedule(0.0):
        for event in scheduler.drain() + scheduler.commit(step, runner.execute(step)):
            transcript.heed(event)
    return transcript.answers[0]


@pytest.mark.parametrize("model", ["small", "coder"])
def test_a_forced_call_has_valid_arguments(model: str, request: pytest.FixtureRequest) -> None:
    ready: Ready = request.getfixturevalue(model)
    said = answer(ready, ASKED, "get_weather")
    (call,) = said.calls
    assert (call.name, said.text) == ("get_weather", "")
    arguments = json.loads(call.text)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("celsius", "fahrenheit")


def test_of_several_tools_the_model_chooses_one(coder: Ready) -> None:
    said = answer(coder, ASKED, "get_weather", "get_time")
    assert [call.name for call in said.calls] == ["get_weather"]
    assert json.loads(said.calls[0].text)["city"] == "Paris"


def test_a_model_that_is_free_calls_in_its_own_way(coder: Ready) -> None:
    (call,) = answer(coder, ASKED).calls
    assert call.name == "get_weather"
    assert json.loads(call.text)["city"] == "Paris"


def test_a_template_that_knows_no_tools_is_told_in_words(small: Ready) -> None:
    """Otherwise the model would not even know their names."""
    request = Request("r", ChatPrompt(ASKED, TOOLS))
    with_tools = small.preparer.prepare(request)
    without = small.preparer.prepare(replace(request, prompt=ChatPrompt(ASKED)))
    assert len(with_tools.prompt) > len(without.prompt) + 50
