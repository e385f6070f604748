"""The draft model's coming and going: its memory is given back where it stays useless, and taken again for a trial."""

from __future__ import annotations

import ctypes
import logging
import sys
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from fireside_engine.core.footprint import DeviceBytes, merge
from fireside_engine.errors import FiresideError
from fireside_engine.llama import breakdown
from fireside_engine.llama.drafter import Drafter
from fireside_engine.llama.runner import LlamaRunner
from fireside_engine.worker.driver import Cache
from fireside_engine.worker.loading import SOURCES, Ready
from fireside_engine.worker.pair_keeping import PairKeeper, draft_keeper
from fireside_engine.worker.protocol import Drafting

log = logging.getLogger(__name__)


class Companion:
    """One for each draft model that was loaded. `leave`, `come` and `seat` are called by the thread that decodes.

    make: load the draft model again; raises FiresideError where it cannot. tell: what became of it, for people.
    """

    def __init__(
        self,
        runner: LlamaRunner,
        make: Callable[[], Drafter],
        tell: Callable[[Drafting], None],
        devices: tuple[DeviceBytes, ...],
    ) -> None:
        """devices: what the model takes without it."""
        self._runner = runner
        self._make = make
        self._tell = tell
        self._devices = devices

    def leave(self, why: str, pool: Executor) -> None:
        """Take the draft model from its place. Freeing takes a while, so another thread does it."""
        drafter, self._runner.drafter = self._runner.drafter, None
        if drafter is not None:
            pool.submit(self._free, drafter, why)

    def come(self, pool: Executor, done: Callable[[Drafter | None], None]) -> None:
        """Load it on another thread; `done` is called there, with None where it cannot be had."""
        pool.submit(lambda: done(self._load()))

    def seat(self, drafter: Drafter) -> None:
        """Put a draft model that came to its place."""
        self._runner.drafter = drafter
        words = f"{SOURCES}; draft model {drafter.path.stem}, back on trial"
        self._tell(Drafting("loaded", words, merge([*self._devices, *drafter.devices])))

    def _free(self, drafter: Drafter, why: str) -> None:
        name = drafter.path.stem
        drafter.close()
        give_back()
        words = f"draft model {name} freed: {why}"
        log.info("%s", words)
        self._tell(Drafting("freed", f"{SOURCES}; {words}", self._devices))

    def _load(self) -> Drafter | None:
        try:
            return self._make()
        except (FiresideError, OSError) as error:
            log.warning("the draft model stays away: %s", error)
            return None


@dataclass(frozen=True, slots=True)
class DraftSide:
    """A runner with what belongs to the draft model."""

    runner: LlamaRunner
    cache: Cache | None
    companion: Companion | None


def draft_side(ready: Ready, tell: Callable[[Drafting], None]) -> DraftSide:
    """Put together what was loaded. The draft model's KV is kept where the model's is."""
    keeper, drafter = ready.keeper, ready.pair.drafter
    if drafter is None or ready.pair.make is None:
        return DraftSide(LlamaRunner(ready.context, ready.state, keeper.keep if keeper else None), keeper, None)
    of_draft = draft_keeper(drafter, keeper) if keeper is not None and drafter.is_kept else None
    runner = LlamaRunner(
        ready.context,
        ready.state,
        keeper.keep if keeper is not None else None,
        drafter,
        of_draft.keep if of_draft is not None else None,
    )
    cache: Cache | None = keeper
    if keeper is not None and of_draft is not None:
        cache = PairKeeper(keeper, of_draft, lambda: runner.drafter)
    companion = Companion(runner, ready.pair.make, tell, breakdown.allocated(ready.context))
    return DraftSide(runner, cache, companion)


def give_back() -> None:
    """What the allocator keeps of freed memory goes back to the system, where it can be asked to."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
