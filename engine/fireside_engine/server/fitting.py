"""`POST /fireside/fit`, `GET /fireside/machine`: what runs well here, and why. Nothing is loaded for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from fireside_engine import errors
from fireside_engine.core import fit
from fireside_engine.core.choice import Choice, Row, choose
from fireside_engine.core.fit import Wish, reason
from fireside_engine.core.machine import Machine, Pool
from fireside_engine.core.quality import class_quality
from fireside_engine.core.refusal import Refusal
from fireside_engine.core.speed import FILLED, Book, predict
from fireside_engine.models import names
from fireside_engine.models.catalogue import Entry
from fireside_engine.server.dry_runs import DryRuns
from fireside_engine.server.engine import Engine
from fireside_engine.server.manage import describe
from fireside_engine.server.openai_schema import parse
from fireside_engine.server.planning import FitPlanner, Subject
from fireside_engine.server.responses import json_response

_QUANT = re.compile(r"[-._](?:ud-)?(?:i?q\d[a-z0-9_]*|tq\d_\d|bf16|f16|f32|mxfp4(?:_moe)?|nvfp4)(?=$|[-._])")


class RemoteFile(BaseModel):
    model_config = ConfigDict(extra="ignore")
    stem: str
    quant: str
    size: int = Field(gt=0)
    chosen: bool = False
    """The header is that of this one."""


class FitBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str = ""
    n_ctx: int | None = Field(default=None, ge=256, le=1 << 22)
    n_slots: int | None = Field(default=None, ge=1, le=64)
    kv_type: Literal["f16", "bf16", "q8_0"] | None = None
    deterministic: bool = False
    draft: str = ""
    """A model that is to draft for it."""
    speed: float = Field(default=fit.SPEED, gt=0, le=10_000)
    header: str = Field(default="", max_length=4096)
    """A file with the header of a model that is not here, as `fireside pull` fetches it."""
    files: list[RemoteFile] = Field(default_factory=list, max_length=256)
    """With `header`: the quantizations that its repository has."""

    def wish(self) -> Wish:
        return Wish(self.n_ctx, self.n_slots, self.kv_type, self.deterministic, self.speed)


class Fitting:
    """The endpoints."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def machine(self, _request: Request) -> Response:
        planner = self._planner()

        def look() -> Machine:
            with DryRuns() as runs:
                return planner.machine(runs)

        machine = await asyncio.to_thread(look)
        learned = planner.book.learned
        return json_response(
            {
                **machine_json(machine),
                "bandwidth": dict(learned.book.bandwidth),
                "overhead": learned.overhead,
                "loads": {name: asdict(load) for name, load in learned.loads.items()},
            }
        )

    async def fit(self, request: Request) -> Response:
        """All models that are there, or the quantizations of one. Raises ModelNotFound."""
        body = parse(FitBody, await request.body())
        if body.header:
            return json_response(await asyncio.to_thread(self._remote, body))
        entries = await self._engine.names.entries()
        groups = group(entries)
        if body.model:
            entry = (await self._engine.names.find(body.model)).entry
            groups = [next((own for own in groups if any(e.path == entry.path for e in own)), [entry])]
        draft = (await self._engine.names.find(body.draft)).entry.path if body.draft else None
        found = await asyncio.to_thread(self._assess, groups, body.wish(), draft)
        return json_response(found)

    async def show(self, request: Request) -> Response:
        """One model: what is known of it, how it would be loaded, what loading it took. Raises ModelNotFound."""
        body = parse(FitBody, await request.body())
        entry = (await self._engine.names.find(body.model)).entry
        assessed = await asyncio.to_thread(self._assess, [[entry]], body.wish())
        model = assessed["models"][0]
        if model["broken"]:
            raise errors.FiresideError.from_dict(model["broken"][0]["error"])
        subject = self._planner().subject(entry.path)
        load = self._planner().book.learned.loads.get(subject.candidate.file)
        return json_response(
            {
                "name": entry.name,
                "path": str(entry.path),
                "size": entry.size,
                "source": entry.source,
                "details": entry.details,
                **{name: model[name] for name in ("n_params", "n_active", "n_ctx_train")},
                "row": model["rows"][0],
                "loaded": [describe(resident) for resident in self._engine.supervisor.of_file(entry.path)],
                "last_load": asdict(load) if load is not None else None,
            }
        )

    def _assess(self, groups: Sequence[Sequence[Entry]], wish: Wish, draft: Path | None = None) -> dict[str, Any]:
        planner = self._planner()
        small = planner.subject(draft) if draft is not None else None
        with DryRuns() as runs:
            machine = planner.machine(runs)
            models = [self._model(planner, own, machine, wish, runs, small) for own in groups]
        return {"machine": machine_json(machine), "models": models}

    def _remote(self, body: FitBody) -> dict[str, Any]:
        """A model on the hub. One header is enough: others of its quantizations have the same shapes, and their
        weights are as large as their files."""
        planner = self._planner()
        path = Path(body.header)
        known = planner.subject(path)
        subjects = []
        for file in body.files or [RemoteFile(stem=path.stem, quant="", size=known.candidate.size, chosen=True)]:
            subject = known if file.chosen else of_size(known, file.stem, file.quant.upper(), file.size)
            entry = Entry(file.stem, path, "registered", file.size, {})
            subjects.append((entry, replace(subject, candidate=replace(subject.candidate, available=False))))
        with DryRuns() as runs:
            machine = planner.machine(runs)
            model = assess_model(planner, subjects, machine, body.wish(), runs)
        return {"machine": machine_json(machine), "models": [model | {"broken": []}]}

    def _model(
        self,
        planner: FitPlanner,
        entries: Sequence[Entry],
        machine: Machine,
        wish: Wish,
        runs: DryRuns,
        draft: Subject | None,
    ) -> dict[str, Any]:
        subjects: list[tuple[Entry, Subject]] = []
        broken: list[dict[str, Any]] = []
        for entry in entries:
            try:
                subjects.append((entry, planner.subject(entry.path)))
            except errors.FiresideError as error:
                broken.append({"name": entry.name, "error": error.to_dict()})
        return assess_model(planner, subjects, machine, wish, runs, draft) | {"broken": broken}

    def _planner(self) -> FitPlanner:
        planner = self._engine.supervisor.planner
        if not isinstance(planner, FitPlanner):
            raise errors.InternalError("This engine has no planner that looks at the machine.")
        return planner


def assess_model(
    planner: FitPlanner,
    subjects: Sequence[tuple[Entry, Subject]],
    machine: Machine,
    wish: Wish,
    runs: DryRuns,
    draft: Subject | None = None,
) -> dict[str, Any]:
    """The quantizations of one model: a row for each, the best first, the pick among them, and why."""
    subjects = sorted(subjects, key=lambda pair: (pair[1].candidate.quality.kld, -pair[1].candidate.size))
    rows = [planner.assess(subject, machine, wish, runs, draft) for _, subject in subjects]
    choice = choose(rows, wish)
    described = []
    for (entry, subject), row in zip(subjects, choice.rows, strict=True):
        refusal = None
        if row.plan is None:
            others = [other for _, other in subjects if other is not subject]
            refusal = planner.refusal(subject, others, machine, wish, runs, row)
        told = row_json(entry.name, entry.path, row, refusal, choice)
        if row.plan is not None:
            told["plan"]["reason"] = reason(row.plan, subject.candidate, wish)
            told["plan"]["speeds"] = _speeds(row, machine, planner.book.learned.book)
        described.append(told)
    first = subjects[0][1].candidate if subjects else None
    return {
        "model": _base_name([entry for entry, _ in subjects]),
        "architecture": first.shape.architecture if first else "",
        "n_params": first.shape.n_params if first else 0,
        "n_active": round(first.shape.n_active) if first else 0,
        "n_ctx_train": first.shape.n_ctx_train if first else 0,
        "n_ctx": fit.target_context(first.shape, wish) if first else 0,
        "pick": choice.pick.candidate.name if choice.pick is not None else None,
        "reason": choice.reason,
        "rows": described,
    }


def _speeds(row: Row, machine: Machine, book: Book) -> dict[str, float]:
    """Tokens a second by the length of the conversation so far."""
    candidate, plan = row.candidate, row.plan
    if plan is None:
        return {}
    setup = plan.setup
    return {
        str(filled): predict(
            candidate.shape, setup, candidate.quant, candidate.file, machine, book, filled
        ).tokens_per_second
        for filled in sorted({min(n, setup.n_ctx) for n in (100, FILLED, setup.n_ctx // 2, setup.n_ctx)})
    }


def of_size(subject: Subject, name: str, quant: str, size: int) -> Subject:
    """The same model in another quantization, from the size of its file."""
    old = subject.candidate
    ratio = size / max(1, old.size)
    shape = old.shape
    scaled = replace(
        shape,
        layers=tuple(
            replace(layer, dense=int(layer.dense * ratio), experts=int(layer.experts * ratio)) for layer in shape.layers
        ),
        embedding=int(shape.embedding * ratio),
        output=int(shape.output * ratio),
    )
    quality = class_quality(quant, shape.n_params, moe=shape.is_moe)
    candidate = replace(old, name=name, quant=quant, file="", size=size, shape=scaled, quality=quality)
    return replace(subject, candidate=candidate)


def row_json(name: str, path: Path, row: Row, refusal: Refusal | None, choice: Choice) -> dict[str, Any]:
    candidate, plan = row.candidate, row.plan
    quality = candidate.quality
    taken = plan.footprint if plan is not None else row.smallest
    found: dict[str, Any] = {
        "name": name,
        "file": path.name,
        "quant": candidate.quant,
        "size": candidate.size,
        "quality": {
            "kld": quality.kld,
            "band": quality.band.name,
            "measured": quality.measured,
            "same_top": quality.same_top,
        },
        "fits": plan is not None,
        "picked": choice.pick is not None and choice.pick.candidate is candidate,
        "against": row.against,
        "memory": [asdict(part) | {"total": part.total} for part in taken.devices] if taken is not None else [],
        "process": taken.process if taken is not None else 0,
        "exact": taken.exact if taken is not None else False,
        "plan": None,
        "refusal": None,
    }
    if plan is not None:
        found["plan"] = asdict(plan.setup) | {
            "kv": plan.kv,
            "draft": plan.draft or None,
            "words": placement_words(row) + (" + draft" if plan.draft else ""),
            "tokens_per_second": plan.speed.tokens_per_second,
            "margin": plan.speed.margin,
            "draft_gain": plan.speed.gain,
        }
    if refusal is not None:
        found["refusal"] = asdict(refusal) | {"missing": refusal.missing, "changes": list(refusal.changes)}
    return found


def placement_words(row: Row) -> str:
    """Where the layers go, in two or three words."""
    plan, shape = row.plan, row.candidate.shape
    if plan is None:
        return "-"
    setup = plan.setup
    if setup.gpu_layers == 0:
        return "CPU"
    if setup.cpu_experts:
        return f"experts {setup.cpu_experts}/{shape.n_layer} CPU"
    if setup.gpu_layers < 0:
        return "all GPU"
    return f"{setup.gpu_layers}/{shape.n_layer + 1} layers GPU"


def machine_json(machine: Machine) -> dict[str, Any]:
    return {
        "pools": [_pool_json(pool) for pool in machine.pools],
        "n_threads": machine.n_threads,
        "flags": list(machine.flags),
        "build": machine.build,
    }


def _pool_json(pool: Pool) -> dict[str, Any]:
    return asdict(pool) | {"budget": pool.budget}


def group(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries that are quantizations of one model: what models.toml knows as one, or shapes and sizes that agree.

    The same file under two names is one of them; files that cannot be used are left out.
    """
    groups: dict[object, list[Entry]] = {}
    seen: set[Path] = set()
    for entry in entries:
        details = entry.details
        if "error" in details or (real := entry.path.resolve()) in seen:
            continue
        seen.add(real)
        if details.get("roles") == ["embedding"]:
            continue
        own = details.get("catalogue") or without_quant(entry.path.name)
        groups.setdefault((own, details.get("architecture"), details.get("n_params")), []).append(entry)
    return list(groups.values())


def without_quant(file: str) -> str:
    """The name of a model from the name of its file, in small letters."""
    return _QUANT.sub("", names.key(names.stem(file))).strip("-._ ")


def _base_name(entries: Sequence[Entry]) -> str:
    if not entries:
        return ""
    known = entries[0].details.get("catalogue")
    return str(known or without_quant(entries[0].path.name) or entries[0].name)
