"""What one model's keeper knows before its model has a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from fireside_engine.core.blocks import root_key
from fireside_engine.core.owner import Owner
from fireside_engine.kv_cache.store import Store
from fireside_engine.worker.keeping import Keeper, _digest

PARTS = {"model": "tiny"}
SCOPE = b"scope"


def test_answers_are_recalled_by_the_first_prompt_after_a_load(tmp_path: Path) -> None:
    """The first prompt after a restart came before the model's name was known: its history was cut into other tokens
    than those whose KV was on disk, and was computed again."""
    root = root_key({**PARTS, "scope": SCOPE})
    before = Store(tmp_path / "kv", budget=1 << 30)
    before.remember(root, _digest("Hello"), [1, 2, 3], Owner("", "ours"))
    before.close()
    reading = threading.Event()

    def identify(_nothing_is_known: Callable[[], None]) -> Mapping[str, object]:
        reading.wait(10)
        return PARTS

    store = Store(tmp_path / "kv", budget=1 << 30)
    keeper = Keeper(store, identify, label="tiny", has_rows=True, tokenizer=None)
    threading.Timer(0.2, reading.set).start()
    assert {text: list(tokens) for text, tokens in keeper.recall(SCOPE, ["Hello"]).items()} == {"Hello": [1, 2, 3]}
    assert keeper.close(10)
