"""What a model would occupy, from llama.cpp itself, without loading it: weights and contexts made with `no_alloc`.

Only the header of the file is read: a skeleton (models/skeleton.py) will do. Making a context this way takes 10 to 30
ms. It belongs into a process that may be lost, because llama.cpp aborts on some headers, and because asking a GPU costs
memory of it. Recurrent state is the exception: it is allocated even so.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from fireside_engine.core.footprint import DeviceBytes, Setup
from fireside_engine.errors import ModelUnsupported
from fireside_engine.llama import breakdown, library
from fireside_engine.llama.context import ContextOptions, parameters
from fireside_engine.llama.library import api
from fireside_engine.llama.model import keep_experts


def dry_run(path: Path, setups: Sequence[Setup]) -> list[tuple[DeviceBytes, ...]]:
    """The buffers of each setup. Raises ModelUnsupported with llama.cpp's reason."""
    library.start()
    results: dict[int, tuple[DeviceBytes, ...]] = {}
    groups: dict[tuple[int, int], list[int]] = {}
    for index, setup in enumerate(setups):
        groups.setdefault((setup.gpu_layers, setup.cpu_experts), []).append(index)
    for (gpu_layers, cpu_experts), indices in groups.items():
        model = _load(path, gpu_layers, cpu_experts)
        try:
            for index in indices:
                results[index] = _measure(path, model, setups[index])
        finally:
            api.llama_model_free(model)
    return [results[index] for index in range(len(setups))]


def _load(path: Path, gpu_layers: int, cpu_experts: int) -> ctypes.c_void_p:
    params = api.llama_model_default_params()
    params.no_alloc = True
    # Any other mode aborts the process together with no_alloc.
    params.load_mode = api.LLAMA_LOAD_MODE_NONE
    params.n_gpu_layers = gpu_layers
    overrides = keep_experts(cpu_experts)
    params.tensor_buft_overrides = ctypes.addressof(overrides) if overrides is not None else None
    with library.capture() as log:
        model: ctypes.c_void_p = api.llama_model_load_from_file(str(path).encode(), params)
        if not model:
            raise ModelUnsupported(
                f"llama.cpp cannot load {path.name}: {log.reason()}.",
                hint="It may be damaged, or newer than the installed llama-cpp-python.",
            )
    return model


def _measure(path: Path, model: ctypes.c_void_p, setup: Setup) -> tuple[DeviceBytes, ...]:
    options = ContextOptions(
        n_ctx=setup.n_ctx,
        n_slots=setup.n_slots,
        n_batch=setup.n_batch,
        n_outputs=setup.n_outputs,
        n_threads=1,
        type_k=setup.type_k,
        type_v=setup.type_v,
        swa_full=setup.swa_full,
    )
    params = parameters(options)
    with library.capture() as log:
        context = api.llama_init_from_model(model, params)
        if not context:
            raise ModelUnsupported(
                f"llama.cpp cannot make a context for {path.name}: {log.reason()}.",
                hint="Another KV type or context may work.",
            )
        lines = log.lines()
    try:
        n_vocab = int(api.llama_vocab_n_tokens(api.llama_model_get_vocab(model)))
        return breakdown.of_context(context, setup.n_outputs, n_vocab, lines, int(api.llama_model_size(model)))
    finally:
        api.llama_free(context)
