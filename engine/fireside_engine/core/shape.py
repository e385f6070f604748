"""The shape of a model, as its header tells it, and the closed formulas for what it occupies.

The formulas stand in where llama.cpp cannot be asked (no dry run, a machine that is only imagined), and tests hold
them against its answers. Sources: llama.cpp's llama-kv-cache*.cpp, llama-memory-recurrent.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fireside_engine.core.footprint import Setup

BYTES_PER_ELEMENT = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32,
                     "q4_1": 20 / 32, "q4_0": 18 / 32}  # fmt: skip
CELLS = 256
"""KV is allocated in multiples of so many cells for each slot."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One block of the model."""

    dense: int
    """Bytes of all its tensors but those of experts."""
    experts: int = 0
    k: int = 0
    """Elements of K for one token; 0 where the layer keeps no KV."""
    v: int = 0
    windowed: bool = False
    """Attention sees the last `n_swa` tokens only."""
    state: int = 0
    """Bytes of recurrent state for each slot."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides memory and speed of a model."""

    architecture: str
    layers: tuple[Layer, ...]
    embedding: int
    """Bytes of the token embedding, which stay in main memory."""
    output: int
    """Bytes of what comes after the last layer; on a GPU, a tied output is a copy of the embedding."""
    tied: bool
    n_ctx_train: int
    n_vocab: int
    n_embd: int
    n_ff: int
    n_params: int
    n_swa: int = 0
    n_experts: int = 0
    n_experts_used: int = 0
    types: Mapping[str, int] | tuple[()] = ()
    """Bytes by tensor type."""

    @property
    def weights(self) -> int:
        return self.embedding + self.output + sum(layer.dense + layer.experts for layer in self.layers)

    @property
    def n_layer(self) -> int:
        return len(self.layers)

    @property
    def is_moe(self) -> bool:
        return any(layer.experts for layer in self.layers)

    @property
    def is_latent(self) -> bool:
        """Attention keeps one row for K and V together (MLA)."""
        return any(layer.k and not layer.v for layer in self.layers)

    @property
    def expert_share(self) -> float:
        """The part of the experts that computes one token."""
        return self.n_experts_used / self.n_experts if self.n_experts else 1.0

    @property
    def n_active(self) -> float:
        """Parameters that compute one token."""
        experts = sum(layer.experts for layer in self.layers)
        return self.n_params * (1 - experts / max(1, self.weights) * (1 - self.expert_share))


def padded(n_ctx: int) -> int:
    return -(-n_ctx // CELLS) * CELLS


def kv_of_layer(shape: Shape, layer: Layer, setup: Setup) -> int:
    """Bytes of KV and recurrent state of one layer, all slots together."""
    cells = padded(setup.n_ctx)
    if layer.windowed and not setup.swa_full:
        cells = padded(min(cells, shape.n_swa + setup.n_batch))
    row = layer.k * BYTES_PER_ELEMENT[setup.type_k] + layer.v * BYTES_PER_ELEMENT[setup.type_v]
    return setup.n_slots * (int(cells * row) + layer.state)


def kv_bytes(shape: Shape, setup: Setup) -> int:
    """Bytes of KV and recurrent state of the whole model."""
    return sum(kv_of_layer(shape, layer, setup) for layer in shape.layers)


def compute_bytes(shape: Shape, setup: Setup) -> int:
    """Activations of the largest batch with flash attention: within some tens of MiB of what llama.cpp reserves."""
    wide = max(shape.n_ff * max(1, shape.n_experts_used), shape.n_embd)
    return setup.n_batch * (4 * (3 * wide + 4 * shape.n_embd) + 2 * padded(setup.n_ctx))


def output_bytes(shape: Shape, setup: Setup) -> int:
    """Rows of logits."""
    return setup.n_outputs * shape.n_vocab * 4
