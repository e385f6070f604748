"""All dialects through their own SDKs, on a real model in real processes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai
import pytest

from fireside_engine import address
from real_engine import RealEngine

pytestmark = pytest.mark.model

RULES = "You answer questions about the weather. " * 30
"""Long enough for the prefix of a repeated prompt to be kept; shorter ones are computed again as a whole."""
ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def url(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("real")
        patch.setenv(address.HOME_VARIABLE, str(home))
        engine = RealEngine(home, small=smollm2)
        try:
            assert engine.cli("run", "-m", "small", "-n", "1", "Hi").code == 0
            record = address.read_record()
            assert record is not None
            yield record.url
        finally:
            patch.setenv(address.HOME_VARIABLE, str(home))
            engine.stop()


def test_openai(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=120) as client:
        tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}
        answer = client.chat.completions.create(
            model="small", messages=ASKED, tools=[tool], tool_choice="required", max_tokens=60, temperature=0
        )
        assert answer.choices[0].message.tool_calls is not None
        (call,) = answer.choices[0].message.tool_calls
        assert call.type == "function"
        assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")
        assert answer.choices[0].finish_reason == "tool_calls"
        text = client.completions.create(model="small", prompt="1, 2, 3, 4,", max_tokens=6, temperature=0, echo=True)
        assert text.choices[0].text.startswith("1, 2, 3, 4, 5")
        response = client.responses.create(model="small", input="Say hello.", max_output_tokens=8, temperature=0)
        again = client.responses.create(
            model="small", input="And again.", max_output_tokens=8, previous_response_id=response.id
        )
        assert again.usage is not None
        assert response.usage is not None
        assert again.usage.input_tokens > response.usage.total_tokens
        assert again.usage.input_tokens_details.cached_tokens > 0
        one, two = client.embeddings.create(model="small", input=["a cat", "a kitten"]).data
        assert sum(a * b for a, b in zip(one.embedding, two.embedding, strict=True)) > 0.5
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(model="small", prompt="def f(", suffix="):")
        assert caught.value.status_code == 501


def test_anthropic(url: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=120) as client:
        counted = client.messages.count_tokens(model="small", messages=ASKED, system=RULES).input_tokens
        with client.messages.stream(model="small", max_tokens=8, messages=ASKED, system=RULES) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert text
        assert final.stop_reason == "max_tokens"
        assert final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0) == counted
        second = client.messages.create(model="small", max_tokens=1, messages=ASKED, system=RULES)
        assert (second.usage.cache_read_input_tokens or 0) > 0


def test_ollama(url: str) -> None:
    client = ollama.Client(host=url)
    assert "small" in [model.model for model in client.list().models]
    chunks = list(client.chat(model="small", messages=ASKED, stream=True, options={"num_predict": 5, "temperature": 0}))
    assert chunks[-1].done_reason == "length"
    assert chunks[-1].eval_count == 5
    formed = client.chat(model="small", messages=ASKED, format=SCHEMA, options={"temperature": 0})
    assert json.loads(formed.message.content or "")["city"] in ("Paris", "Rome")
    client._client.close()
