"""Real models go on with the same bits after their KV was cut out and put back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fireside_engine.core.state_rows import MemoryClass
from fireside_engine.llama.model import Model
from fireside_engine.llama.state import StateAccess
from kv_steps import greedy, make_context, prefill, random_tokens, used

pytestmark = pytest.mark.model

CASES = [
    # Attention takes another path from 512 cells on.
    ("smollm2", "f16", MemoryClass.ATTENTION, 540, 16),
    ("smollm2", "deterministic", MemoryClass.ATTENTION, 300, 16),
    ("qwen_small", "q8_0", MemoryClass.ATTENTION, 130, 16),
    # A window of 512 tokens in a ring of 1,024 cells, which begins anew within the steps.
    ("gemma", "f16", MemoryClass.WINDOWED, 1010, 24),
    ("gemma", "deterministic", MemoryClass.WINDOWED, 1010, 24),
]


@pytest.mark.parametrize(("name", "kv", "memory_class", "n", "steps"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_a_restored_sequence_goes_on_with_the_same_bits(
    name: str, kv: str, memory_class: MemoryClass, n: int, steps: int, request: pytest.FixtureRequest
) -> None:
    model = Model(request.getfixturevalue(name))
    context = make_context(model, 1280, kv, n_slots=2, n_threads=2)
    state = StateAccess(context)
    assert (state.memory_class, state.why) == (memory_class, "")
    first = int(prefill(context, 0, random_tokens(model, n)).argmax())
    kept = used(state.cut(0, 0, n, n)), state.checkpoint(0)
    assert sum(len(row.payload) for row in kept[0]) == n * state.row_bytes
    assert len(kept[1] or b"") == state.state_bytes
    expected = greedy(context, 0, first, n, steps)
    context.trim(0, 0)
    assert state.restore(1, *kept, n)
    assert state.copy(1, 0, n)
    assert (used(state.cut(0, 0, n, n)), state.checkpoint(0)) == kept
    assert np.array_equal(greedy(context, 1, first, n, steps), expected)
    context.close()
    model.close()


def test_a_model_of_another_form_is_another_fingerprint(smollm2: Path, qwen_small: Path) -> None:
    prints = set()
    for path in (smollm2, qwen_small):
        model = Model(path)
        context = make_context(model, 256, n_slots=1)
        prints.add(StateAccess(context).fingerprint)
        context.close()
        model.close()
    assert len(prints) == 2
