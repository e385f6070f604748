"""`/v1/completions` as OpenAI's SDK and editor plugins use it."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from fake_engine import Running, events, running_apart


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_text_goes_on(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="small", prompt="words=3 x", max_tokens=10)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason, choice.index, choice.logprobs) == ("w0 w1 w2 ", "stop", 0, None)
    assert (answer.object, answer.model) == ("text_completion", "small")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)


def test_the_usual_limit_is_openais(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="small", prompt="words=50")
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (16, "length")


def test_it_is_streamed(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="small", prompt="words=3", stream=True, stream_options={"include_usage": True}, max_tokens=9
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "w0 w1 w2 "
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_several_prompts_and_several_answers(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="small", prompt=["words=1", "words=2 more"], n=2, max_tokens=9)
    assert [choice.text for choice in answer.choices] == ["w0 ", "w0 ", "w0 w1 ", "w0 w1 "]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1 + 2, 1 + 1 + 2 + 2)


def test_the_prompt_is_echoed_with_its_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="small", prompt="words=2", echo=True, logprobs=1, max_tokens=9)
    (choice,) = answer.choices
    assert choice.text == "words=2w0 w1 "
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens == [*"words=2", "w0 ", "w1 "]
    assert logprobs.text_offset == [0, 1, 2, 3, 4, 5, 6, 7, 10]
    assert logprobs.token_logprobs is not None
    assert logprobs.token_logprobs[-2:] == [-0.5, -0.5]
    assert logprobs.top_logprobs is not None
    assert logprobs.top_logprobs[-1] == {"t0": -1.0}
    stream = client.completions.create(model="small", prompt="words=2", echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "words=2w0 w1 "


def test_tokens_are_a_prompt(client: openai.OpenAI) -> None:
    tokens = [ord(char) for char in "hello"]
    answer = client.completions.create(model="small", prompt=tokens, echo=True, max_tokens=1)
    assert answer.choices[0].text == "hellow0 "
    several = client.completions.create(model="small", prompt=[tokens, tokens[:2]], echo=True, max_tokens=1)
    assert [choice.text for choice in several.choices] == ["hellow0 ", "hew0 "]


def test_a_suffix_is_filled_up_to(client: openai.OpenAI, engine: Running) -> None:
    answer = client.completions.create(model="small", prompt="words=2 def f(", suffix="):", max_tokens=9)
    assert answer.choices[0].text == "w0 w1 "
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(model="small", prompt="fail=fill", suffix="x")
    assert caught.value.status_code == 501
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "not_supported_error"
    assert "small does not support insert" in caught.value.body["message"]
    assert "qwen2.5-coder" in caught.value.body["hint"]
    # Without a suffix to fill up to, the same model is asked for nothing special.
    assert client.completions.create(model="small", prompt="fail=fill words=1", suffix="").choices[0].text == "w0 "


def test_what_cannot_be_is_refused(engine: Running) -> None:
    for body, param in (
        ({"prompt": ["x"] * 33}, "prompt"),
        ({"prompt": "x", "suffix": "y", "echo": True}, "echo"),
        ({"prompt": [1, 2], "suffix": "y"}, "suffix"),
        ({"prompt": {"a": 1}}, None),
        ({"prompt": [-1]}, None),
    ):
        reply = engine.ask("POST", "/v1/completions", body)
        assert reply.status == 400, body
        assert param is None or reply.json["error"]["param"] == param


def test_zed_gets_what_it_reads(engine: Running) -> None:
    """Its edit prediction posts a templated prompt to the exact URL that its user set, with nulls among the fields."""
    body = {
        "model": "small", "prompt": "<|fim_prefix|>words=1 <|fim_suffix|><|fim_middle|>", "max_tokens": 64,
        "temperature": None, "stop": ["a", "b", "c", "d"], "environment": None,
    }  # fmt: skip
    reply = engine.ask("POST", "/v1/completions", body).json
    assert reply["id"].startswith("cmpl-")
    assert reply["choices"][0]["text"] == "w0 "


def test_minuet_gets_its_stream(engine: Running) -> None:
    body = {"model": "small", "prompt": "words=2", "suffix": "\n", "stream": True, "max_tokens": 56, "top_p": 0.9}
    *chunks, done = events(engine.ask("POST", "/v1/completions", body).body)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "w0 w1 "
