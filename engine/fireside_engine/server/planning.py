"""From a file to the way it is loaded here: header, dry run, machine, rule. And what loads and answers teach.

Everything here may block: on the disk, and on the process of the dry run. The event loop calls it in threads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from fireside_engine import address, errors
from fireside_engine.core import fit
from fireside_engine.core.choice import Row, assess
from fireside_engine.core.fit import Candidate, Plan, Wish
from fireside_engine.core.footprint import HOST, Footprint, Setup
from fireside_engine.core.machine import Machine, shortages
from fireside_engine.core.placement import ContextCost, Costs, closed_form, process_bytes
from fireside_engine.core.quality import class_quality
from fireside_engine.core.refusal import Refusal, gib, refuse
from fireside_engine.core.shape import Shape
from fireside_engine.core.speed import Speed, seconds_per_token
from fireside_engine.core.vocabulary import PADDING
from fireside_engine.hardware import bandwidth
from fireside_engine.hardware import machine as hardware
from fireside_engine.models import names
from fireside_engine.models.discovery import stat_model
from fireside_engine.models.gguf import Header, read_header
from fireside_engine.models.shape import shape_of
from fireside_engine.server.book_file import BookFile, Learned, Load, identity
from fireside_engine.server.dry_runs import Buffers, BuildFile, DryRuns, Kept, setup_key, shape_key
from fireside_engine.server.granting import NOTHING, Grant
from fireside_engine.worker.protocol import LoadOptions, ModelInfo

log = logging.getLogger(__name__)

DRIFT = 0.03
DRIFT_BYTES = 256 * 1024**2
"""What is told and shown when a load took so much more or less than it should, whichever is larger."""

Look = Callable[[Sequence[Mapping[str, object]], str], Machine]


@dataclass(frozen=True, slots=True)
class Subject:
    """A file whose header was read."""

    header: Header
    candidate: Candidate
    path: Path | None = None


class FitPlanner:
    """The planner of the product. Thread-safe: one question after the other."""

    def __init__(self, *, look: Look = hardware.look, book: BookFile | None = None) -> None:
        self._look_at = look
        self._book = book
        self._lock = threading.RLock()
        self._subjects: dict[Path, tuple[str, Subject]] = {}
        self._measured: dict[str, dict[str, Buffers]] = {}
        self._hello: tuple[list[dict[str, Any]], str] | None = None

    @property
    def book(self) -> BookFile:
        # Made when it is first needed, so that an engine that loads nothing writes nothing.
        if self._book is None:
            self._book = BookFile()
        return self._book

    # --- what the supervisor asks

    def plan(
        self,
        path: Path,
        options: LoadOptions,
        free_more: Mapping[str, int] = NOTHING,
        *,
        force: bool = False,
        draft: Path | None = None,
    ) -> Grant:
        with self._lock, DryRuns() as runs:
            subject = self.subject(path)
            # With its speed: what is learned from answers is learned on top of it, so it has to be there before.
            machine = self.machine(runs).with_free(free_more)
            wish = wish_of(options)
            second = self.subject(draft) if draft is not None else None
            row = self.assess(subject, machine, wish, runs, second)
            if row.plan is not None:
                return _grant(options, row.plan, fit.reason(row.plan, subject.candidate, wish))
            if force:
                forced = fit.forced_plan(
                    subject.candidate, machine, wish, self._costs(subject.header, wish, runs), self.book.learned.book
                )
                short = max((shortage.missing for shortage in row.short), default=0)
                return _grant(options, forced, note=f"Loaded by force: {gib(short)} of memory are missing.")
            raise too_large(subject.candidate.name, self.refusal(subject, (), machine, wish, runs, row))

    def lower(self, path: Path, grant: Grant) -> Grant | None:
        with self._lock, DryRuns() as runs:
            subject = self.subject(path)
            machine = self._machine(runs)
            # What was asked for in so many words has failed; only the types that texts depend on are kept.
            wish = Wish(deterministic=grant.options.deterministic)
            costs = self._costs(subject.header, wish, runs)
            old = Plan(grant.setup, grant.footprint, Speed(0.0, 0.0))
            found = fit.lower(subject.candidate, old, machine, wish, costs, self.book.learned.book)
            if found is None:
                return None
            note = (
                f"An allocation failed, so it was loaded with {found.setup.n_ctx:,} tokens of context, "
                f"{found.setup.n_slots} slots and KV in {found.kv} instead of {grant.setup.n_ctx:,}, "
                f"{grant.setup.n_slots} and {grant.setup.type_k}."
            )
            return _grant(grant.options, found, note=note)

    def loaded(self, path: Path, grant: Grant, info: ModelInfo) -> str:
        with self._lock:
            subject = self.subject(path)
            load = _load(grant, info, info.memory)
            self.book.keep_load(subject.candidate.file, load, settled=False)
            real, promised = load.actual_devices, load.predicted_devices
            # Much else goes on while a model loads, so this counts only where nothing better is known.
            if info.step_ms > 0 and subject.candidate.file not in self.book.learned.book.files:
                self._learn(subject, grant.setup, info.step_ms / 1e3, 48)
            drift = abs(real - promised)
            if promised and drift > max(DRIFT * promised, DRIFT_BYTES):
                return f"Its buffers took {gib(real)} instead of the {gib(promised)} that were predicted."
            return ""

    def answered(self, path: Path, grant: Grant, seconds_per_token: float, filled: int, gain: float = 1.0) -> None:
        with self._lock:
            subject = self.subject(path)
            if gain == 1.0:
                # With drafts, the plain speed is only reckoned: it teaches nothing that a plain answer does not.
                self._learn(subject, grant.setup, seconds_per_token, filled)
            file = subject.candidate.file
            self.book.change(lambda known: replace(known, book=known.book.drafted(file, gain)))

    def settled(self, path: Path, grant: Grant, info: ModelInfo, resident: int) -> None:
        with self._lock:
            self.book.keep_load(self.subject(path).candidate.file, _load(grant, info, resident), settled=True)

    # --- what the fit asks

    def machine(self, runs: DryRuns) -> Machine:
        """With a first guess of its speed."""
        with self._lock:
            machine = self._machine(runs)
            if HOST not in self.book.learned.book.bandwidth:
                rate = bandwidth.measure(machine.n_threads)
                self.book.change(
                    lambda known: replace(
                        known, book=replace(known.book, bandwidth={**known.book.bandwidth, HOST: rate})
                    )
                )
            return machine

    def subject(self, path: Path) -> Subject:
        """Raises NotAModel or ModelNotFound."""
        file = stat_model(path) if path.exists() else None
        own = identity(path, file.size, file.mtime_ns) if file else ""
        with self._lock:
            if (known := self._subjects.get(path)) is not None and known[0] == own:
                return self._with_quality(known[1])
        header = read_header(path)
        subject = Subject(header, candidate_of(header, names.clean(names.stem(path.name)), own), path)
        with self._lock:
            self._subjects[path] = (own, subject)
        return self._with_quality(subject)

    def assess(
        self, subject: Subject, machine: Machine, wish: Wish, runs: DryRuns, draft: Subject | None = None
    ) -> Row:
        """The plan of one file, with one that drafts for it where both fit. What is shown and granted is from a dry
        run of exactly that setup."""
        learned = self.book.learned
        costs = self._costs(subject.header, wish, runs)
        second = None
        if draft is not None and abs(draft.candidate.shape.n_vocab - subject.candidate.shape.n_vocab) <= PADDING:
            second = draft.candidate
            costs = _either(costs, second.shape, self._costs(draft.header, wish, runs, subject))
        current = machine
        for _ in range(3):
            row = assess(subject.candidate, current, wish, costs, learned.book, learned.overhead, second)
            if row.plan is None:
                return row
            exact = self._exact(subject, row.plan, runs, learned.overhead)
            short = shortages(machine, exact.footprint)
            if not short:
                return replace(row, plan=exact)
            # Placement on GPUs is estimated before; the next round plans with so much less.
            pools = {shortage.pool: shortage.missing for shortage in short}
            gpus = tuple(replace(p, free=max(0, p.free - 2 * pools.get(p.name, 0))) for p in current.gpus)
            host = replace(current.host, free=max(0, current.host.free - 2 * pools.get(HOST, 0)))
            current = replace(current, host=host, gpus=gpus)
        return replace(row, plan=None, short=short, smallest=exact.footprint)

    def refusal(
        self, subject: Subject, others: Sequence[Subject], machine: Machine, wish: Wish, runs: DryRuns, row: Row
    ) -> Refusal:
        learned = self.book.learned
        costs = self._costs(subject.header, wish, runs)
        candidates = [other.candidate for other in others]
        return refuse(row, candidates, machine, wish, costs, learned.book, learned.overhead)

    def measured(self, subject: Subject, seconds_per_token: float) -> None:
        """Learn from a bench of one file by itself."""
        with self._lock:
            self._learn(subject, Setup(1024, gpu_layers=-1), seconds_per_token, 76, benched=True)

    # --- inside

    def _machine(self, runs: DryRuns) -> Machine:
        if self._hello is None and (build := BuildFile(_directory()).load()):
            self._hello = ([], build)
        if self._hello is None or self._hello[0]:
            # Graphics memory changes as other programs use it; without graphics there is nothing to ask again.
            self._hello = (runs.devices, runs.build)
            BuildFile(_directory()).save(runs)
        return self._look_at(*self._hello)

    def _with_quality(self, subject: Subject) -> Subject:
        """With what was measured of it, or the loss of what it was made from besides its own."""
        learned, candidate = self.book.learned, subject.candidate
        known = learned.qualities.get(candidate.file)
        if known is None and (source := learned.made_from.get(candidate.file)) is not None:
            origin = next((own.candidate for name, own in self._subjects.values() if name == source), None)
            lost = learned.qualities.get(source) or (origin.quality if origin is not None else None)
            known = replace(candidate.quality, kld=candidate.quality.kld + lost.kld) if lost is not None else None
        return replace(subject, candidate=replace(candidate, quality=known)) if known else subject

    def _costs(self, header: Header, wish: Wish, runs: DryRuns, target: Subject | None = None) -> Costs:
        """target: of a draft model, the one whose contexts it has."""
        shape = target.candidate.shape if target is not None else shape_of(header)
        wanted = fit.rungs(shape, wish)
        if target is not None:
            wanted = list(dict.fromkeys(fit.draft_setup(setup) for setup in wanted))
        gpus = bool(self._hello and self._hello[0])
        asked = [*wanted, *(replace(setup, gpu_layers=-1) for setup in wanted)] if gpus else wanted
        try:
            table = self._measure(header, asked, runs)
        except (errors.ModelUnsupported, errors.InternalError) as error:
            log.warning("computed instead of measured: %s", error)
            return closed_form

        def cost(_shape: Shape, setup: Setup) -> ContextCost:
            plain = replace(setup, gpu_layers=0, cpu_experts=0)
            own = table.get(setup_key(plain))
            if own is None:
                return closed_form(_shape, setup)
            full = table.get(setup_key(replace(plain, gpu_layers=-1)), own)
            on_gpu = max((part.compute for part in full if part.device != HOST), default=0)
            kv = sum(part.kv for part in own)
            host = next((part for part in own if part.device == HOST), own[0])
            return ContextCost(kv, host.compute, on_gpu, host.outputs, exact=True)

        return cost

    def _measure(self, header: Header, setups: Sequence[Setup], runs: DryRuns) -> dict[str, Buffers]:
        """By `setup_key`; what is known from before is not measured again."""
        build = self._hello[1] if self._hello else runs.build
        key = shape_key(header, build)
        kept = Kept(_directory())
        known = self._measured.get(key) or kept.load(key)
        new = [setup for setup in setups if setup_key(setup) not in known]
        if new:
            shown = names.clean(header.text("general.name")) or header.architecture
            results = runs.measure(header, new, shown)
            known = known | {setup_key(setup): parts for setup, parts in zip(new, results, strict=True)}
            kept.save(key, known)
        self._measured[key] = known
        return known

    def _exact(self, subject: Subject, plan: Plan, runs: DryRuns, overhead: int) -> Plan:
        """With the bytes of a dry run of just this setup and just this file, where GPUs share the layers."""
        if not plan.setup.gpu_layers or plan.draft:
            return plan
        try:
            (parts,) = runs.measure(subject.header, [plan.setup], subject.candidate.name)
        except errors.ModelUnsupported:
            return plan
        taken = Footprint(parts, process_bytes(subject.candidate.shape, overhead))
        return replace(plan, footprint=taken)

    def _learn(self, subject: Subject, setup: Setup, measured: float, filled: int, *, benched: bool = False) -> None:
        candidate = subject.candidate
        machine = self._look_at(*(self._hello or ([], "")))
        predicted = seconds_per_token(candidate.shape, setup, candidate.quant, machine, self.book.learned.book, filled)

        def change(known: Learned) -> Learned:
            book = known.book.learn(candidate.quant, candidate.file, predicted, measured, benched=benched)
            return replace(known, book=book)

        self.book.change(change)


def _directory() -> Path:
    return address.cache_dir() / "dry_runs"


def _load(grant: Grant, info: ModelInfo, resident: int) -> Load:
    """resident: bytes of the process in main memory."""
    real = sum(part.total for part in info.devices)
    on_host = sum(part.total for part in info.devices if part.device == HOST)
    promised = grant.footprint.total - grant.footprint.process
    return Load(grant.footprint.total, resident + real - on_host, promised, real)


def _either(costs: Costs, draft: Shape, of_draft: Costs) -> Costs:
    """What is known of two models, told apart by their shapes."""
    return lambda shape, setup: (of_draft if shape is draft else costs)(shape, setup)


def candidate_of(header: Header, name: str, file: str, *, available: bool = True) -> Candidate:
    shape = shape_of(header)
    quality = class_quality(header.quant, shape.n_params, moe=shape.is_moe)
    return Candidate(name, header.quant, file, header.file_size, shape, quality, available)


def wish_of(options: LoadOptions) -> Wish:
    return Wish(
        n_ctx=options.n_ctx, n_slots=options.n_slots, kv_type=options.kv_type, deterministic=options.deterministic
    )


def too_large(name: str, refusal: Refusal) -> errors.InsufficientMemory:
    message = f"{name} needs {gib(refusal.need)} and may have {gib(max(0, refusal.free))}: "
    message += f"{gib(refusal.missing)} are missing."
    hint = f"What would help: {'; '.join(refusal.changes)}. `--force` loads it all the same."
    return errors.InsufficientMemory(
        message,
        hint=hint,
        need=refusal.need,
        free=max(0, refusal.free),
        missing=refusal.missing,
        pool=refusal.pool,
        changes=list(refusal.changes),
    )


def _grant(options: LoadOptions, plan: Plan, why: str = "", note: str = "") -> Grant:
    setup = plan.setup
    kv = options.kv_type
    if kv is None and (not options.deterministic or setup.type_k == setup.type_v):
        kv = cast(Literal["f16", "bf16", "q8_0"], setup.type_k)
    filled = replace(
        options,
        n_ctx=setup.n_ctx,
        n_slots=setup.n_slots,
        kv_type=kv,
        gpu_layers=setup.gpu_layers,
        cpu_experts=setup.cpu_experts,
    )
    return Grant(filled, plan.footprint, setup, why, bool(plan.draft), note)
