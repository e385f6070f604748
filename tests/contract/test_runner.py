"""What every runner promises, asserted on the fake one and on the real model alike."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fireside_engine.core.step import Chunk, Draw, Drawn, Phase, Result, Step
from fireside_engine.core.window import TILE

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_runner import FakeRunner, Greedy

N_SLOTS, N_CTX, N_BATCH = 3, 1024, 256
PROMPTS = [list(range(300 + 500 * i, 300 + 500 * i + n)) for i, n in enumerate((40, 150, 330))]


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.model)], scope="module")
def runner(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "fake":
        yield FakeRunner(N_SLOTS, N_CTX, N_BATCH)
        return
    from fireside_engine.llama.context import Context, ContextOptions
    from fireside_engine.llama.model import Model
    from fireside_engine.llama.runner import LlamaRunner

    model = Model(request.getfixturevalue("smollm2"))
    options = ContextOptions(
        n_ctx=N_CTX, n_slots=N_SLOTS, n_batch=N_BATCH, n_outputs=N_SLOTS, n_threads=2, type_k="f16", type_v="bf16"
    )
    context = Context(model, options)
    yield LlamaRunner(context)
    context.close()
    model.close()


def prefill(runner: Any, slot: int, tokens: list[int], start: int = 0, piece: int = N_BATCH) -> int:
    """The token after `tokens`; KV of the slot is cut at `start` before."""
    drawn: int | None = None
    for at in range(start, len(tokens), piece):
        end = min(at + piece, len(tokens))
        draw = Draw(Greedy(), np.array(tokens[:end], np.int32), 1) if end == len(tokens) else None
        chunk = Chunk(slot, at, np.array(tokens[at:end], np.int32), draw)
        trim = ((slot, start),) if at == start else ()
        result: Result = runner.execute(Step(Phase.PREFILL, (chunk,), trim))
        assert result.failed is None
        assert result.finished >= result.started
        for _, got in result.drawn:
            assert isinstance(got, Drawn)
            drawn = got.token
    assert drawn is not None
    return drawn


def decode(runner: Any, texts: dict[int, list[int]]) -> dict[int, int]:
    """One more token for each slot: the last of its tokens is computed."""
    chunks = tuple(
        Chunk(slot, len(t) - 1, np.array(t[-1:], np.int32), Draw(Greedy(), np.array(t, np.int32), 1))
        for slot, t in sorted(texts.items())
    )
    result = runner.execute(Step(Phase.DECODE, chunks))
    assert result.failed is None
    return {slot: drawn.token for slot, drawn in result.drawn}


def alone(runner: Any, slot: int, prompt: list[int], n: int) -> list[int]:
    tokens = [*prompt, prefill(runner, slot, prompt)]
    for _ in range(n - 1):
        tokens.append(decode(runner, {slot: tokens})[slot])
    return tokens


def test_a_slot_is_as_good_as_another(runner: Any) -> None:
    assert alone(runner, 0, PROMPTS[0], 6) == alone(runner, 2, PROMPTS[0], 6)


def test_company_changes_nothing(runner: Any) -> None:
    single = [alone(runner, slot, prompt, 8) for slot, prompt in enumerate(PROMPTS)]
    texts = {slot: [*prompt, prefill(runner, slot, prompt)] for slot, prompt in enumerate(PROMPTS)}
    for _ in range(7):
        for slot, token in decode(runner, texts).items():
            texts[slot].append(token)
    assert [texts[slot] for slot in range(3)] == single


@pytest.mark.parametrize("piece", [TILE, 2 * TILE])
def test_how_a_prompt_is_cut_changes_nothing(runner: Any, piece: int) -> None:
    assert prefill(runner, 0, PROMPTS[2], piece=piece) == prefill(runner, 1, PROMPTS[2])


def test_a_slot_that_was_cut_goes_on_as_if_the_rest_had_never_been(runner: Any) -> None:
    expected = alone(runner, 0, PROMPTS[1], 4)
    prefill(runner, 1, PROMPTS[1][:100] + PROMPTS[2][:60])
    tokens = [*PROMPTS[1], prefill(runner, 1, PROMPTS[1], start=64)]
    for _ in range(3):
        tokens.append(decode(runner, {1: tokens})[1])
    assert tokens == expected


def test_pieces_that_ask_for_nothing_draw_nothing(runner: Any) -> None:
    chunk = Chunk(0, 0, np.array(PROMPTS[0], np.int32), None)
    result = runner.execute(Step(Phase.PREFILL, (chunk,), ((0, 0),)))
    assert result.drawn == ()
    assert result.failed is None
