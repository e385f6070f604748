"""What an answer cost and where it came from, in the engine's own numbers. Pure; kept with each answer."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

Ending = Literal["stop", "length", "stopped", "failed"]
ENOUGH_READ = 64
"""Tokens of a prompt from which the speed of reading them says something; fewer are mostly overhead."""


@dataclass(frozen=True, slots=True)
class Account:
    """Where an answer came from and what it cost; None where nobody said."""

    model: str = ""
    ending: Ending = "stop"
    """`stopped` is the reader's wish, `failed` an error."""
    reason: str = ""
    """One sentence of the engine about the route; empty if there was no choice."""
    cached: int | None = None
    cached_ram: int = 0
    """Of `cached`, tokens whose state was copied back from memory."""
    cached_disk: int = 0
    """Of `cached`, tokens whose state was read from disk."""
    cache_reason: str = ""
    """Why the cache had less than it might have; empty if it had it all."""
    prefilled: int | None = None
    read_rate: float | None = None
    """Prompt tokens per second, where enough of them were read to tell."""
    generated: int | None = None
    counted_here: bool = False
    """`generated` and `rate` were counted by this program from pieces, not reported by the engine."""
    rate: float | None = None
    """Generated tokens per second."""
    exact: bool | None = None
    drafted: int = 0
    accepted: int = 0
    draft_won_ms: float = 0.0
    """What drafts won against decoding token by token; negative where they lost."""
    draft_runs: tuple[tuple[int, int], ...] = ()
    """(first character, number) of each part of the text that was drafted and accepted, where that was asked for."""
    no_drafts: str = ""
    """Why nothing drafts for this model, where that is the model's nature."""
    load_ms: float = 0.0
    queue_ms: float = 0.0
    seed: int | None = None

    @property
    def context(self) -> int | None:
        """Tokens the conversation holds after this answer."""
        if self.prefilled is None or self.cached is None:
            return None
        return self.cached + self.prefilled + (self.generated or 0)

    def won(self, read_rate: float | None) -> float | None:
        """Seconds that reading the cached tokens would have taken at `read_rate` or this answer's own; None unknown."""
        rate = self.read_rate or read_rate
        return self.cached / rate if self.cached and rate else None

    @classmethod
    def of(
        cls, timings: dict[str, Any], extension: dict[str, Any], *, model: str, asked: str, ending: Ending
    ) -> Account:
        """From the members `timings` and `fireside` of the engine's last chunk."""
        route = str(extension.get("route") or model)
        prefilled = count_in(timings, "prompt_n")
        exact = extension.get("exact")
        return cls(
            model=route,
            ending=ending,
            reason="" if route.lower() == asked.lower() else str(extension.get("reason") or ""),
            cached=count_in(timings, "cache_n"),
            cached_ram=count_in(timings, "cache_ram_n") or 0,
            cached_disk=count_in(timings, "cache_disk_n") or 0,
            cache_reason=str(extension.get("cache_reason") or ""),
            prefilled=prefilled,
            read_rate=number_in(timings, "prompt_per_second") if (prefilled or 0) >= ENOUGH_READ else None,
            generated=count_in(timings, "predicted_n"),
            rate=number_in(timings, "predicted_per_second") or None,
            exact=exact if isinstance(exact, bool) else None,
            drafted=count_in(timings, "draft_n") or 0,
            accepted=count_in(timings, "draft_n_accepted") or 0,
            draft_won_ms=number_in(timings, "draft_ms_won") or 0.0,
            draft_runs=_runs(extension.get("draft_runs")),
            no_drafts=_why_off(extension),
            load_ms=number_in(extension, "load_ms") or 0.0,
            queue_ms=number_in(extension, "queue_ms") or 0.0,
            seed=count_in(extension, "seed"),
        )

    def to_json(self) -> dict[str, Any]:
        """What differs from an empty one."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: values[field.name]
            for field in fields(self)
            if field.default is MISSING or values[field.name] != field.default
        }

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> Account:
        """Inverse of `to_json`; members of another version are ignored."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**values | {"draft_runs": _runs(values.get("draft_runs"))})


def _runs(value: object) -> tuple[tuple[int, int], ...]:
    """Pairs of numbers; whatever else is there is left out."""
    pairs = [tuple(pair) for pair in value if isinstance(pair, list | tuple)] if isinstance(value, list | tuple) else []
    return tuple((a, n) for a, n in (p for p in pairs if len(p) == 2) if isinstance(a, int) and isinstance(n, int))


def _why_off(extension: dict[str, Any]) -> str:
    off, _, why = str(extension.get("speculation") or "").partition("off: ")
    return "" if off else why


def number_in(source: dict[str, Any], name: str) -> float | None:
    value = source.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def count_in(source: dict[str, Any], name: str) -> int | None:
    value = number_in(source, name)
    return None if value is None else int(value)
