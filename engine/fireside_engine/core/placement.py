"""Where the bytes of a model lie when GPUs take a part of its layers. Pure, after llama.cpp's own assignment."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from fireside_engine.core.footprint import HOST, DeviceBytes, Footprint, Setup, merge
from fireside_engine.core.machine import Machine
from fireside_engine.core.shape import Shape, compute_bytes, kv_bytes, kv_of_layer, output_bytes
from fireside_engine.core.speed import first_on_gpu

PROCESS = 190 * 1024 * 1024
"""Resident bytes of a worker without a model: Python, numpy, compiled kernels, llama.cpp (docs/log.md)."""
PER_TOKEN_OF_VOCABULARY = 450
"""Resident bytes that each token of the vocabulary adds: at llama.cpp, the tokenizer, the grammar compiler."""


@dataclass(frozen=True, slots=True)
class ContextCost:
    """What a context takes, wherever it lies."""

    kv: int
    compute_host: int
    compute_gpu: int
    """On each GPU that has layers."""
    outputs: int
    exact: bool = False


Costs = Callable[[Shape, Setup], ContextCost]


def closed_form(shape: Shape, setup: Setup) -> ContextCost:
    """From the formulas, where nobody can be asked."""
    compute = compute_bytes(shape, setup)
    return ContextCost(kv_bytes(shape, setup), compute, compute, output_bytes(shape, setup))


def process_bytes(shape: Shape, overhead: int = 0) -> int:
    """overhead: what loads on this machine took more than they were expected to."""
    return max(0, PROCESS + PER_TOKEN_OF_VOCABULARY * shape.n_vocab + overhead)


def footprint(shape: Shape, setup: Setup, cost: ContextCost, machine: Machine, overhead: int = 0) -> Footprint:
    """Bytes by device. Layers go to GPUs in proportion to what these have free, as llama.cpp splits them."""
    parts = [DeviceBytes(HOST, weights=shape.embedding, compute=cost.compute_host, outputs=cost.outputs)]
    first = first_on_gpu(shape, setup) if machine.gpus else shape.n_layer
    names = _split(machine, shape.n_layer + 1 - first)
    total_kv = kv_bytes(shape, setup)
    scale = cost.kv / total_kv if total_kv else 0.0
    left = cost.kv
    for index, layer in enumerate(shape.layers):
        device = names[index - first] if index >= first else HOST
        kv = int(kv_of_layer(shape, layer, setup) * scale)
        left -= kv
        kept = index < setup.cpu_experts
        parts.append(DeviceBytes(device, layer.dense + (0 if kept else layer.experts), kv))
        if kept:
            parts.append(DeviceBytes(HOST, layer.experts))
    on_gpu = bool(machine.gpus) and setup.gpu_layers != 0
    last = names[-1] if on_gpu else HOST
    copy = shape.embedding if shape.tied and on_gpu else 0
    parts.append(DeviceBytes(last, weights=shape.output + copy, kv=left))
    parts += [DeviceBytes(name, compute=cost.compute_gpu) for name in dict.fromkeys(names) if on_gpu]
    return Footprint(merge(parts), process_bytes(shape, overhead), cost.exact and not on_gpu)


def _split(machine: Machine, n: int) -> list[str]:
    """The device of each of `n` layers that GPUs take, the output counted as the last."""
    free = [max(1, pool.free) for pool in machine.gpus]
    if not free:
        return [HOST] * n
    ends, total = [], 0
    for size in free:
        total += size
        ends.append(total / sum(free))
    return [machine.gpus[min(bisect.bisect_right(ends, index / n), len(ends) - 1)].name for index in range(n)]
