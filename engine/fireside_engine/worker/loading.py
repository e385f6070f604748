"""From a file to a model that is ready to answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from fireside_engine import address
from fireside_engine.core import driving
from fireside_engine.core.answers.formats import chat_format
from fireside_engine.core.fallback_template import chat_template
from fireside_engine.core.footprint import merge
from fireside_engine.core.rules import Rules
from fireside_engine.core.speculation.matching import MAX_DRAFT
from fireside_engine.core.speculation.speculator import Limits, Speculator
from fireside_engine.core.state_rows import MemoryClass
from fireside_engine.core.template_text import ControlTexts
from fireside_engine.core.window import SHORTEST_TAIL, TILE, UNLIMITED, Probe
from fireside_engine.errors import ModelUnsupported
from fireside_engine.hardware import cpu, memory
from fireside_engine.kv_cache.store import Store
from fireside_engine.llama import breakdown, exact, library
from fireside_engine.llama.context import Context, ContextOptions
from fireside_engine.llama.grammar import GrammarCompiler
from fireside_engine.llama.model import Model
from fireside_engine.llama.state import StateAccess
from fireside_engine.llama.tokenizer import Tokenizer
from fireside_engine.models.gguf import Header, read_header
from fireside_engine.worker import identity, measured
from fireside_engine.worker.desk import Desk
from fireside_engine.worker.keeping import Keeper
from fireside_engine.worker.pairing import Pair, choose_drafter
from fireside_engine.worker.prepare import Preparer
from fireside_engine.worker.protocol import LoadOptions, ModelInfo
from fireside_engine.worker.renderer import Renderer

FIRST_RESTORE = 2048
"""Tokens of the conversation that a model may be loaded for."""

MOST_WARM = 48 << 20
"""Bytes; given back when nothing is computed for a while."""

Stage = Literal["reading", "probing", "warming"]
Report = Callable[[Stage, float], None]


SOURCES = "lookups and grammar"
"""What drafts without a draft model."""

COSTS = "costs"
"""Directory of the cache for what batches were seen to cost."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A loaded model with all that requests need."""

    context: Context
    state: StateAccess
    rules: Rules
    speculator: Speculator
    preparer: Preparer
    keeper: Keeper | None
    """None: KV is not kept on disk."""
    pair: Pair
    info: ModelInfo
    desk: Desk
    probe_name: str
    """Of what was measured of this model here, on disk."""

    def close(self) -> None:
        if known := self.speculator.costs.known():
            measured.save_costs(address.cache_dir() / COSTS, self.probe_name, known)
        self.desk.close()
        self.preparer.close()
        self.context.close()
        self.context.model.close()


def load(path: Path, options: LoadOptions, report: Report, draft: Path | None = None) -> Ready:
    """draft: the model that may draft for it. Raises NotAModel, ModelUnsupported or InsufficientMemory."""
    started = time.perf_counter()
    header = read_header(path)
    model = _model(path, header, options, report)
    tokenizer = Tokenizer(model.vocab)
    template = chat_template(model.template, tokenizer.control_texts)
    renderer = Renderer(template.source, tokenizer.bos_text, tokenizer.eos_text)
    renderer.start()
    chosen, context = _context(model, options)
    probe_name = _probe_name(path, context)
    probe = _probe(probe_name, context, report)
    report("warming", 0.0)
    state = StateAccess(context)
    trimmable = model.trimmable or (context.options.swa_full and not model.recurrent)
    rules = driving.rules(
        chosen,
        context.n_ctx,
        probe,
        trimmable=trimmable,
        deterministic=options.deterministic,
        memory=_memory(state, context.n_ctx, cuttable=trimmable, keeps=options.cache),
    )
    if rules.saves.enabled:
        state.warm(min(context.n_ctx, FIRST_RESTORE), MOST_WARM)
    form = chat_format(template.source, tokenizer.control_texts)
    preparer = Preparer(tokenizer, renderer, ControlTexts(tokenizer.control_texts), GrammarCompiler(tokenizer))
    preparer.speak(form, template.source)
    preparer.limit_to(context.n_ctx, template.stop)
    keeper = _keeper(path, header, options, state, context, tokenizer) if rules.saves.enabled else None
    if keeper is not None and not options.deterministic:
        # There, a text depends on the request alone, not on what was said before.
        preparer.recall_with(keeper.recall)
    limits = _limits(probe, model, options, trimmable=trimmable)
    pair = choose_drafter(model, options.draft, draft, probe, limits, context)
    drafter = pair.drafter
    limits = replace(limits, draft_size=drafter.model.size / model.size if drafter is not None else 0.0)
    info = ModelInfo(
        architecture=header.architecture,
        description=model.description,
        n_params=model.n_params,
        size=model.size,
        n_ctx=context.n_ctx,
        n_ctx_train=model.n_ctx_train,
        n_slots=chosen.n_slots,
        n_vocab=model.n_vocab,
        n_threads=context.options.n_threads,
        kv_type=chosen.type_k if chosen.type_k == chosen.type_v else f"{chosen.type_k}/{chosen.type_v}",
        exact_window=probe.window,
        deterministic=options.deterministic,
        has_template=template.origin == "model",
        cache=_cache_words(state, context.n_ctx, keeps=options.cache, saved=rules.saves.enabled),
        memory=memory.rss(os.getpid()),
        load_ms=(time.perf_counter() - started) * 1e3,
        build=library.build(),
        devices=merge([*breakdown.allocated(context), *(drafter.devices if drafter is not None else ())]),
        step_ms=probe.seconds.get(1, 0.0) * 1e3,
        chat_format=form,
        fill=tokenizer.fill is not None,
        speculation=limits.reason or f"{SOURCES}; {pair.words}{_heads_words(header.prediction_heads)}",
        draft=drafter.path.stem if drafter is not None else "",
        draft_state="loaded" if drafter is not None else "none",
    )
    known = measured.load_costs(address.cache_dir() / COSTS, probe_name)
    speculator = Speculator(limits, probe.seconds, known=known)
    desk = Desk(tokenizer, preparer)
    return Ready(context, state, rules, speculator, preparer, keeper, pair, info, desk, probe_name)


def _model(path: Path, header: Header, options: LoadOptions, report: Report) -> Model:
    model = Model(
        path,
        gpu_layers=options.gpu_layers,
        cpu_experts=options.cpu_experts,
        progress=lambda fraction: report("reading", fraction),
    )
    if not model.generative:
        raise ModelUnsupported(
            f"{path.name} does not write text (architecture {header.architecture}).",
            hint="It may be an embedding or an encoder model; choose a chat or completion model.",
        )
    return model


def _context(model: Model, options: LoadOptions) -> tuple[driving.Driving, Context]:
    chosen = driving.choose(
        driving.Shape(model.n_layer, model.n_embd_kv, model.n_ctx_train),
        memory.spare(),
        n_ctx=options.n_ctx,
        n_slots=options.n_slots,
        kv_type=options.kv_type,
        deterministic=options.deterministic,
    )
    return chosen, Context(
        model,
        ContextOptions(
            n_ctx=chosen.n_ctx,
            n_slots=chosen.n_slots,
            n_batch=max(driving.BATCH, TILE + SHORTEST_TAIL),
            n_outputs=max(chosen.n_slots, MAX_DRAFT + 1),
            n_threads=options.n_threads or cpu.threads_for_decoding(cpu.usable_cores()),
            type_k=chosen.type_k,
            type_v=chosen.type_v,
            # Cells of a sliding window are used in a ring, and the order of summation depends on where the ring
            # stands; with room for everything it is the order of positions.
            swa_full=options.deterministic and model.has_window,
        ),
    )


def _keeper(
    path: Path, header: Header, options: LoadOptions, state: StateAccess, context: Context, tokenizer: Tokenizer
) -> Keeper:
    return Keeper(
        Store(address.cache_dir() / "kv", budget=options.cache_budget),
        partial(identity.parts, path, header, context, state, deterministic=options.deterministic),
        label=path.stem,
        has_rows=state.row_bytes > 0,
        tokenizer=tokenizer,
    )


def _heads_words(n: int) -> str:
    """Heads for multi-token prediction need hidden states of every row, which llama.h does not give (docs/log.md)."""
    return f"; {n} prediction head{'s' if n > 1 else ''} of the model not used" if n else ""


def _memory(state: StateAccess, n_ctx: int, *, cuttable: bool, keeps: bool) -> driving.Memory:
    usable = state.memory_class is not MemoryClass.OPAQUE and _can_buffer(state, n_ctx)
    return driving.Memory(
        # With a state, a copy is whole; then it must not be cut.
        copies=usable and (state.state_bytes == 0 or not cuttable),
        saved=keeps and usable,
        checkpoint=state.state_bytes,
        per_token=state.row_bytes,
    )


def _can_buffer(state: StateAccess, n_ctx: int) -> bool:
    """KV leaves and enters a slot as a whole, so there has to be room for a copy of one, and as much again for what
    runs beside decoding."""
    return state.row_bytes * n_ctx + state.state_bytes <= memory.spare() // 2


def _cache_words(state: StateAccess, n_ctx: int, *, keeps: bool, saved: bool) -> str:
    if not keeps:
        return "off, by setting"
    if state.memory_class is MemoryClass.OPAQUE:
        return f"off: {state.why}"
    if not saved:
        return f"off: a copy of one conversation's KV ({state.row_bytes * n_ctx / 1e9:.1f} GB) has no room in memory"
    return "KV blocks and checkpoints" if state.state_bytes else "KV blocks"


def _limits(probe: Probe, model: Model, options: LoadOptions, *, trimmable: bool) -> Limits:
    """What speculation may do: drafts that are refused are cut out of KV, which not every memory allows."""
    if model.recurrent or (model.has_window and not trimmable and options.deterministic):
        return Limits(most_rows=1, reason="off: what this model remembers cannot be taken back token by token")
    if options.deterministic and probe.window == 1:
        return Limits(most_rows=1, reason="off: deterministic, and no batch of this model has the bits of single steps")
    if options.deterministic and probe.window != UNLIMITED:
        return Limits(most_rows=probe.window)
    return Limits()


def _probe_name(path: Path, context: Context) -> str:
    options = context.options
    kv = f"{options.type_k}/{options.type_v}"
    return measured.key(path, library.build(), kv, str(options.n_threads), str(options.n_slots))


def _probe(name: str, context: Context, report: Report) -> Probe:
    directory = address.cache_dir() / "probes"
    probe = measured.load(directory, name)
    if probe is None:
        report("probing", 0.0)
        probe = exact.probe(context, progress=lambda fraction: report("probing", fraction))
        measured.save(directory, name, probe)
    return probe
