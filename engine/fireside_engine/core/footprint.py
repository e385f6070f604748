"""What a loaded model occupies: bytes of each device, by kind. Values only; others measure or compute them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fireside_engine.core.speculation.matching import MAX_DRAFT

HOST = "host"
"""The device name of main memory; every other name is llama.cpp's own, e.g. "CUDA0"."""


@dataclass(frozen=True, slots=True)
class DeviceBytes:
    """Buffers of one device."""

    device: str
    weights: int = 0
    kv: int = 0
    """KV of all slots, and recurrent state."""
    compute: int = 0
    """Activations of the largest batch."""
    outputs: int = 0
    """Rows of logits."""

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute + self.outputs


@dataclass(frozen=True, slots=True)
class Footprint:
    """Everything that a worker with one model takes."""

    devices: tuple[DeviceBytes, ...]
    process: int = 0
    """Bytes of the process itself, in main memory: interpreter, libraries, compiled kernels, vocabulary."""
    exact: bool = True
    """The buffers are those llama.cpp itself asked for, in a run without allocation; else they are computed."""

    @property
    def device_names(self) -> tuple[str, ...]:
        return tuple(part.device for part in self.devices)

    def on(self, device: str) -> DeviceBytes:
        return next((part for part in self.devices if part.device == device), DeviceBytes(device))

    def need(self, device: str) -> int:
        """All bytes of a device, the process itself included in main memory."""
        return self.on(device).total + (self.process if device == HOST else 0)

    @property
    def total(self) -> int:
        return sum(part.total for part in self.devices) + self.process


def merge(parts: Iterable[DeviceBytes]) -> tuple[DeviceBytes, ...]:
    """One entry for each device, in the order of first appearance."""
    found: dict[str, DeviceBytes] = {}
    for part in parts:
        old = found.get(part.device, DeviceBytes(part.device))
        found[part.device] = DeviceBytes(
            part.device,
            old.weights + part.weights,
            old.kv + part.kv,
            old.compute + part.compute,
            old.outputs + part.outputs,
        )
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is loaded, as far as it decides memory."""

    n_ctx: int
    """Tokens of one conversation."""
    n_slots: int = 1
    type_k: str = "f16"
    type_v: str = "f16"
    gpu_layers: int = 0
    """Layers on GPUs, the last ones first; -1 is all, the output layer included."""
    cpu_experts: int = 0
    """Of so many layers, from the first on, the experts stay in main memory."""
    n_batch: int = 512
    n_outputs: int = MAX_DRAFT + 1
    """Rows of logits that one batch may ask for."""
    swa_full: bool = False
    """Layers with a sliding window keep KV for the whole context."""
