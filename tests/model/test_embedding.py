"""Embeddings of a real model: near for what means the same, of length 1, and the same every time."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fireside_engine.errors import InvalidRequest
from fireside_engine.llama.embedder import Embedder
from fireside_engine.worker.embedding import answer, load_embedder
from fireside_engine.worker.questions import Embed

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def embedder(smollm2: Path) -> Iterator[Embedder]:
    loaded, info = load_embedder(smollm2, None)
    assert info.n_ctx == 8192
    yield loaded
    loaded.close()
    loaded.model.close()


def vectors(embedder: Embedder, *texts: str) -> np.ndarray:
    told = answer(embedder, Embed(texts))
    return np.array([np.frombuffer(base64.b64decode(each), "<f4") for each in told["vectors"]])


def test_near_texts_have_near_vectors(embedder: Embedder) -> None:
    cat, kitten, tax = vectors(
        embedder, "A cat sleeps on the sofa.", "A kitten is asleep on the couch.", "The tax law was changed in 1987."
    )
    assert np.linalg.norm(cat) == pytest.approx(1.0, abs=1e-5)
    assert cat @ kitten > cat @ tax


def test_a_text_has_one_vector_whatever_came_before(embedder: Embedder) -> None:
    alone = vectors(embedder, "hello world")[0]
    after = vectors(embedder, "something else entirely", "hello world")[1]
    assert np.array_equal(alone, after)
    tokens = tuple(embedder.tokens("hello world"))
    assert answer(embedder, Embed((tokens,)))["vectors"] == answer(embedder, Embed(("hello world",)))["vectors"]


def test_what_cannot_be_embedded_is_refused(embedder: Embedder) -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        answer(embedder, Embed(("word " * 9000,)))
    for bad in ((), (10**6,), (-1,)):
        with pytest.raises(InvalidRequest):
            answer(embedder, Embed((bad,)))
