"""Whether a model gets a draft model, and which."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fireside_engine.core.speculation.choice import MARGIN
from fireside_engine.core.speculation.costs import Costs
from fireside_engine.core.speculation.drafting import AT_BEST, break_even, outlook
from fireside_engine.core.speculation.speculator import Limits
from fireside_engine.core.window import Probe
from fireside_engine.errors import FiresideError, InsufficientMemory
from fireside_engine.hardware import memory
from fireside_engine.llama.context import Context
from fireside_engine.llama.drafter import Drafter
from fireside_engine.llama.model import Model

log = logging.getLogger(__name__)

ROOM = 1.3
"""Free memory that a draft model of that size needs, its KV and buffers included."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What was decided."""

    words: str
    """The draft model, or why there is none."""
    drafter: Drafter | None = None
    make: Callable[[], Drafter] | None = None
    """Load the same again, after it was freed. Raises FiresideError, or OSError when its file is gone."""


def choose_drafter(
    model: Model, wanted: str, found: Path | None, probe: Probe, limits: Limits, context: Context
) -> Pair:
    """The draft model, and in words why it is there or not.

    wanted: "off", "auto" or a path, as in LoadOptions. One that is found by itself is loaded only where it could pay on
    this machine; one that was asked for is loaded, or the load fails with ModelUnsupported.
    """
    if limits.most_rows < 2 or wanted == "off":
        return Pair("no draft model, by setting" if wanted == "off" else "no draft model")
    asked = wanted != "auto"
    path = Path(wanted) if asked else found
    if path is None:
        return Pair("no draft model known")
    share = path.stat().st_size / model.size
    if not asked:
        costs = Costs(probe.seconds)

        def ratio(rows: int) -> float:
            return costs.ratio(0, 1, rows)

        if outlook(AT_BEST, share, ratio, limits.most_rows).gain <= MARGIN:
            edge = break_even(share, ratio, limits.most_rows)
            needed = f"{edge:.0%} of its tokens would have to be accepted" if edge <= 1.0 else "it is too large"
            return Pair(f"{path.stem} cannot pay as a draft model here: {needed}")
        if not _has_room(path):
            return Pair(f"{path.stem} has no room as a draft model")

    def make() -> Drafter:
        return Drafter(path, model, n_ctx=context.n_ctx, n_threads=context.options.n_threads)

    def make_again() -> Drafter:
        if not _has_room(path):
            raise InsufficientMemory(f"{path.stem} has no room as a draft model.")
        return make()

    try:
        drafter = make()
    except FiresideError as error:
        if asked:
            raise
        log.warning("%s", error)
        return Pair(error.message.rstrip("."))
    return Pair(f"draft model {path.stem}", drafter, make_again)


def _has_room(path: Path) -> bool:
    return path.stat().st_size * ROOM <= memory.spare()
