"""Embeddings through the SDKs of OpenAI and Ollama."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

from fake_engine import Running, running_apart


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small") as engine:
        yield engine


@pytest.fixture
def client(engine: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_both_encodings_are_the_same_numbers(client: openai.OpenAI) -> None:
    """The SDK asks for base64 unless told otherwise, and decodes it."""
    for options in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):
        answer = client.embeddings.create(model="small", input="hello", **options)  # type: ignore[arg-type]
        (data,) = answer.data
        vector = data.embedding
        if isinstance(vector, list):
            assert vector == [5.0, 3.0, 4.0, 0.0]
        assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (5, 5)


def test_several_texts_and_tokens(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="small", input=["a", "abc"])
    assert [(data.index, data.embedding[0]) for data in answer.data] == [(0, 1.0), (1, 3.0)]
    assert client.embeddings.create(model="small", input=[1, 2]).data[0].embedding[0] == 2.0
    assert len(client.embeddings.create(model="small", input=[[1], [2, 3]]).data) == 2


def test_fewer_dimensions_have_length_one_again(client: openai.OpenAI) -> None:
    vector = client.embeddings.create(model="small", input="a" * 4, dimensions=2).data[0].embedding
    assert vector == pytest.approx([0.8, 0.6])
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        client.embeddings.create(model="small", input="a", dimensions=5)


@pytest.mark.parametrize("given", [[], "", ["a", ""], ["a"] * 2049, None, 5, [-1], [["a"]]])
def test_what_is_no_input_is_refused(engine: Running, given: Any) -> None:
    assert engine.ask("POST", "/v1/embeddings", {"model": "small", "input": given}).status == 400


def test_ollama(engine: Running) -> None:
    client = ollama.Client(host=engine.url)
    assert [list(vector) for vector in client.embed(model="small", input=["a", "ab"]).embeddings] == [
        [1.0, 3.0, 4.0, 0.0],
        [2.0, 3.0, 4.0, 0.0],
    ]
    assert client.embed(model="small", input="abc").prompt_eval_count == 3
    assert list(client.embed(model="small", input="").embeddings) == []
    assert list(client.embeddings(model="small", prompt="ab").embedding) == [2.0, 3.0, 4.0, 0.0]
    client._client.close()


def test_the_same_file_may_chat_beside(engine: Running) -> None:
    assert engine.chat("words=1").status == 200
    engine.ask("POST", "/v1/embeddings", {"model": "small", "input": "x"})
    assert len([model for model in engine.status()["models"] if model["name"] == "small"]) == 2
