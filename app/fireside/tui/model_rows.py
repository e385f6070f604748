"""Models to choose from, as rows: those that are here and those that could be fetched, with what each takes. Pure.

Reads what `/v1/models`, `/fireside/fit` and `/fireside/downloads` say. A number that nobody said stays blank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fireside.tui.engine import Model
from fireside.wire import JsonObject
from fireside.wording import duration, short_count, size

STORES = {"ollama": "Ollama", "lm-studio": "LM Studio", "hub-cache": "the Hugging Face cache"}
"""Other programs, by what the engine calls their sources."""
REFERENCE_RATE = 12.5e6
"""Bytes a second of a line with 100 Mbit/s, for times of downloads before anything was fetched."""


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model in one quantization."""

    name: str
    here: bool = True
    """False where it has to be fetched."""
    quant: str = ""
    size: int = 0
    """Bytes of the file."""
    band: str = ""
    """How close it is to the original, in words."""
    memory: int = 0
    """Bytes it takes when it is loaded."""
    n_ctx: int = 0
    """Tokens of context it is loaded with."""
    rate: float | None = None
    """Tokens a second."""
    is_measured: bool = False
    """`rate` is what this machine was seen to do."""
    is_rough: bool = False
    """Memory and rate come from the size of the file alone."""
    fits: bool | None = None
    picked: bool = False
    """The best of the quantizations of its model."""
    proposed: int = 0
    """1 for what is proposed first to somebody without models, 2 and 3 for what follows; 0 for the others."""
    loaded: bool = False
    source: str = ""
    why: str = ""
    """One sentence or a few."""
    target: str = ""
    """What `fireside pull` fetches it by."""

    @property
    def store(self) -> str:
        """The other program that keeps it, or ""."""
        return STORES.get(self.source, "")


def installed(models: Iterable[Model]) -> list[ModelRow]:
    """What is here, before anything is known of how it would run; the loaded ones first."""
    ordered = sorted(models, key=lambda model: (not model.loaded, model.name.lower()))
    return [
        ModelRow(model.name, size=model.size, n_ctx=model.n_ctx, loaded=model.loaded, source=model.source)
        for model in ordered
    ]


def assessed(rows: Sequence[ModelRow], found: JsonObject) -> list[ModelRow]:
    """The same rows with what `/fireside/fit` says of them."""
    known: dict[str, ModelRow] = {}
    broken: dict[str, str] = {}
    for model in found.get("models") or ():
        for told in model.get("rows") or ():
            row = fit_row(told, str(model.get("reason") or ""))
            known[row.name.lower()] = row
        for bad in model.get("broken") or ():
            broken[str(bad.get("name")).lower()] = str((bad.get("error") or {}).get("message") or "")
    result = []
    for row in rows:
        if (fit := known.get(row.name.lower())) is not None:
            row = replace(
                fit, name=row.name, loaded=row.loaded, source=row.source, size=row.size or fit.size, here=row.here
            )
        elif (words := broken.get(row.name.lower())) is not None:
            row = replace(row, fits=False, why=words)
        result.append(row)
    return result


def quantizations(found: JsonObject, target: str, files: Sequence[JsonObject]) -> list[ModelRow]:
    """What a repository has of one model, by what `/fireside/fit` says of its header; `files` as `peek` told them."""
    by_stem = {str(file["stem"]): str(file["quant"]) for file in files}
    rows = []
    for model in found.get("models") or ():
        for told in model.get("rows") or ():
            row = fit_row(told, str(model.get("reason") or ""))
            # By the name of the file: what its header calls the quantization may be another word.
            quant = by_stem.get(row.name, row.quant)
            rows.append(replace(row, here=False, quant=quant, target=target, source="hub"))
    return rows


def fit_row(told: JsonObject, reason: str = "") -> ModelRow:
    """One row of `/fireside/fit`; `reason` is that of the model, for its pick."""
    plan, quality = told.get("plan") or {}, told.get("quality") or {}
    refusal = told.get("refusal") or {}
    memory = sum(_whole(part, "total") for part in told.get("memory") or ()) + _whole(told, "process")
    picked = bool(told.get("picked"))
    sentences = [reason] if picked and reason else [str(plan.get("reason") or "")]
    if told.get("against"):
        sentences.append(f"Against it: {told['against']}.")
    if refusal:
        changes = "; ".join(str(change) for change in refusal.get("changes") or ())
        sentences = [f"{size(_whole(refusal, 'missing'))} of memory are missing."]
        sentences += [f"It would fit with: {changes}."] if changes else []
    margin = plan.get("margin")
    return ModelRow(
        str(told.get("name") or ""),
        quant=str(told.get("quant") or ""),
        size=_whole(told, "size"),
        band=str(quality.get("band") or ""),
        memory=memory,
        n_ctx=_whole(plan, "n_ctx"),
        rate=float(plan["tokens_per_second"]) if "tokens_per_second" in plan else None,
        is_measured=isinstance(margin, int | float) and margin <= 0.1,
        fits=bool(told.get("fits")),
        picked=picked,
        why=" ".join(sentence for sentence in sentences if sentence),
    )


def fetchable(found: JsonObject) -> list[ModelRow]:
    """What `/fireside/downloads` knows and is not here: what is proposed first, then in its own order."""
    proposed = [str(name) for name in found.get("proposed") or ()]
    rows = []
    for told in found.get("models") or ():
        if told.get("installed") or "embedding" in (told.get("roles") or ()):
            continue
        name, look = str(told.get("name") or ""), told.get("outlook") or {}
        licence = str(told.get("licence") or "unknown")
        about = [str(told.get("description") or ""), f"Licence: {licence}."]
        if not told.get("confirmed"):
            about.append("Not all about it could be confirmed.")
        if seconds := _whole(told, "size") / REFERENCE_RATE:
            about.append(f"About {duration(seconds)} to fetch at 100 Mbit/s.")
        rows.append(
            ModelRow(
                name,
                here=False,
                quant=str(told.get("quant") or ""),
                size=_whole(told, "size"),
                memory=_whole(look, "memory"),
                rate=float(look["tokens_per_second"]) if "tokens_per_second" in look else None,
                is_rough=True,
                fits=bool(look["fits"]) if "fits" in look else None,
                proposed=proposed.index(name) + 1 if name in proposed else 0,
                source="hub",
                why=" ".join(part for part in about if part),
                target=name,
            )
        )
    return sorted(rows, key=lambda row: row.proposed or len(rows) + 1)


def offers(rows: Sequence[ModelRow]) -> list[ModelRow]:
    """What a first run offers, the preselected one first: files of other programs that run well, the best proposal,
    the starter, larger proposals."""
    foreign = [row for row in rows if row.here and row.store and row.fits and row.picked]
    own = [row for row in rows if row.here and not row.store and row.fits is not False]
    proposals = sorted((row for row in rows if row.proposed), key=lambda row: row.proposed)
    return [*foreign[:3], *proposals[:1], *own[:2], *proposals[1:]]


def machine_words(machine: JsonObject) -> str:
    """What a model may have of this machine, e.g. `main memory: 20 GB of 25 GB for models · 2 threads`."""
    parts = []
    for pool in machine.get("pools") or ():
        title = str(pool.get("title") or pool.get("name") or "memory")
        parts.append(f"{title}: {size(_whole(pool, 'budget'))} of {size(_whole(pool, 'total'))} for models")
    if threads := _whole(machine, "n_threads"):
        parts.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return " · ".join(parts)


def fit_words(row: ModelRow) -> str:
    """Whether it fits, in a word or two."""
    if row.fits is None:
        return ""
    return "fits" if row.fits else "too large"


def rate_words(row: ModelRow) -> str:
    """Tokens a second; `~` marks what was not measured here."""
    if row.rate is None:
        return ""
    about = "" if row.is_measured else "~"
    if row.rate < 0.1:
        return "<0.1"
    return f"{about}{row.rate:.0f}" if row.rate >= 10 else f"{about}{row.rate:.1f}"


def memory_words(row: ModelRow) -> str:
    return f"{'~' if row.is_rough else ''}{size(row.memory)}" if row.memory else ""


def context_words(row: ModelRow) -> str:
    return short_count(row.n_ctx) if row.n_ctx else ""


def _whole(data: dict[str, Any], name: str) -> int:
    value = data.get(name)
    return int(value) if isinstance(value, int | float) else 0
