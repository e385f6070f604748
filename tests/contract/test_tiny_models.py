"""The tiny models that other tests stand on: they load, speak, and depend on what came before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.model import Model
from fireside_engine.llama.tokenizer import Tokenizer
from fireside_engine.models.gguf import read_header
from tiny_models import WINDOW, WRITERS


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tiny_models: dict[str, Path]) -> Path:
    return tiny_models[request.param]


def test_the_same_bytes_each_time(path: Path, tmp_path: Path) -> None:
    assert WRITERS[path.stem](tmp_path / "again.gguf").read_bytes() == path.read_bytes()


def test_our_header_parser_takes_them(path: Path) -> None:
    assert read_header(path).architecture == path.stem


def test_the_vocabulary_has_words_bytes_and_control_tokens(path: Path) -> None:
    model = Model(path)
    tokenizer = Tokenizer(model.vocab)
    tokens = tokenizer.encode_segments([("<|im_start|>", True), ("Hello the river, Ü<|im_end|>", False)])
    pieces = [tokenizer.piece(int(token)) for token in tokens]
    assert b"".join(pieces) == "Hello the river, Ü<|im_end|>".encode()
    assert b" river" in pieces
    assert int(tokens[1]) == tokenizer.encode("<|im_start|>", True)[0]
    assert tokenizer.eog
    assert model.template
    model.close()


def greedy(context: Context, prompt: list[int], n: int) -> list[int]:
    context.trim(0, 0)
    index = context.add(0, 0, np.array(prompt, np.int32), 1)
    tokens: list[int] = []
    for _ in range(n):
        assert context.decode() == 0
        tokens.append(int(context.logits(index).argmax()))
        index = context.add(0, len(prompt) + len(tokens) - 1, np.array(tokens[-1:], np.int32), 1)
    context.decode()
    return tokens


def test_what_they_write_depends_on_tokens_long_ago(path: Path) -> None:
    model = Model(path)
    context = Context(model, ContextOptions(n_ctx=1024, n_slots=1, n_batch=512, n_outputs=1, n_threads=1))
    prompt = np.random.default_rng(0).integers(261, model.n_vocab, 2 * WINDOW).tolist()
    expected = greedy(context, prompt, 24)
    assert len(set(expected)) > 12, "it repeats itself"
    for place in (200, 255) if path.stem == "mamba" else (0, 100, 255):
        other = list(prompt)
        other[place] = 261 + (other[place] - 260) % (model.n_vocab - 261)
        assert greedy(context, other, 24) != expected, place
    context.close()
    model.close()
