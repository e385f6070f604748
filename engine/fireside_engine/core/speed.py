"""How fast a model will decode here: bytes read for each token, over what this machine reads in a second.

One token reads every weight that computes it, and attends to the conversation so far. What that takes depends on the
machine and on the type of the weights, so it is learned: a first guess comes from a benchmark of memory, and every load
and every answer corrects it: for the very file, for its type, and for the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fireside_engine.core.footprint import HOST, Setup
from fireside_engine.core.machine import Machine
from fireside_engine.core.quality import SPEED_CLASS
from fireside_engine.core.shape import Shape

FILLED = 1024
"""Tokens of the conversation that speeds are told for."""
_FASTER, _SLOWER = 0.6, 0.15
"""Weights of one measurement that is faster, or slower, than what is known."""
TRUSTED = 3
"""Measurements after which a rate is shown with the narrow margin."""
_MOST_GAIN = 3.0
_GAIN_WEIGHT = 0.1
"""Of the newest answer: what drafts gain differs from text to text."""
_DEFAULT_BANDWIDTH = {"host": 12e9, "gpu": 250e9, "unified": 80e9}
_ATTENTION_PER_THREAD = 1.6e9
"""Multiplications and additions of attention that one core does in a second, in llama.cpp's CPU kernels."""
_ATTENTION_ON_GPU = 2e12
_STEP = 0.2e-3
"""Seconds of a token that do not depend on the model: drawing, the loop, the pipe."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A learned correction: measured time over predicted time."""

    factor: float = 1.0
    count: int = 0

    def learn(self, ratio: float, *, benched: bool = False) -> Rate:
        """Whatever else runs only ever makes an answer slower, so that a faster one is believed sooner, and a fast
        bench, which did nothing else, at once."""
        ratio = min(20.0, max(0.05, ratio))
        weight = _FASTER if ratio < self.factor else _SLOWER
        if not self.count or (benched and ratio < self.factor):
            weight = 1.0
        return Rate(self.factor * (1 - weight) + ratio * weight, self.count + 1)


@dataclass(frozen=True, slots=True)
class Seconds:
    """Of one token."""

    weights: float
    attention: float


@dataclass(frozen=True, slots=True)
class Speed:
    """While decoding, alone."""

    tokens_per_second: float
    """Without drafts."""
    margin: float
    """0.25 is plus or minus a quarter."""
    gain: float = 1.0
    """How many times as fast drafts have made it, or others here."""

    @property
    def expected(self) -> float:
        """Tokens a second with what drafts gain."""
        return self.tokens_per_second * self.gain


@dataclass(frozen=True, slots=True)
class Book:
    """What was learned of this machine."""

    bandwidth: Mapping[str, float] = field(default_factory=dict)
    """Bytes a second by pool, benchmarked."""
    machine: Rate = Rate()
    types: Mapping[str, Rate] = field(default_factory=dict)
    """By quantization; on top of `machine`."""
    files: Mapping[str, Rate] = field(default_factory=dict)
    """By the identity of a file; instead of both."""
    attention: Rate = Rate()
    gains: Mapping[str, Rate] = field(default_factory=dict)
    """What drafts gain, by the identity of a file; "" is all of them."""

    def rate(self, quant: str, file: str) -> Rate:
        if known := self.files.get(file):
            return known
        own = self.types.get(quant, Rate())
        return Rate(self.machine.factor * own.factor, own.count or min(1, self.machine.count))

    def gain(self, file: str) -> float:
        """How many times as fast drafts have made answers here: of this file, or of all; 1.0 until that is known."""
        known = self.gains.get(file, Rate())
        if known.count < TRUSTED:
            known = self.gains.get("", Rate())
        return min(_MOST_GAIN, max(1.0, known.factor)) if known.count >= TRUSTED else 1.0

    def drafted(self, file: str, ratio: float) -> Book:
        """ratio: what an answer would have taken without drafts, over what it took."""
        ratio = min(_MOST_GAIN, max(1 / _MOST_GAIN, ratio))
        gains = dict(self.gains)
        for name in {file, ""}:
            old = gains.get(name, Rate())
            weight = max(_GAIN_WEIGHT, 1 / (old.count + 1))
            gains[name] = Rate(old.factor * (1 - weight) + ratio * weight, old.count + 1)
        return replace(self, gains=gains)

    def learn(self, quant: str, file: str, predicted: Seconds, measured: float, *, benched: bool = False) -> Book:
        """predicted: without any correction; measured: seconds of a token; benched: nothing else was done meanwhile.

        A short conversation teaches about weights, one that is mostly attention about attention.
        """
        if predicted.weights <= 0 or measured <= 0:
            return self
        weights = predicted.weights * self.rate(quant, file).factor
        attention = predicted.attention * self.attention.factor
        if attention > weights:
            return replace(self, attention=self.attention.learn((measured - weights) / predicted.attention))
        ratio = max(measured - attention, measured / 20) / predicted.weights
        machine = self.machine.learn(ratio)
        own = self.types.get(quant, Rate()).learn(ratio / machine.factor)
        known = self.files.get(file, Rate()).learn(ratio, benched=benched)
        return replace(self, machine=machine, types={**self.types, quant: own}, files={**self.files, file: known})


def seconds_per_token(
    shape: Shape, setup: Setup, quant: str, machine: Machine, book: Book, filled: int = FILLED
) -> Seconds:
    """Without correction. filled: tokens that the token attends to."""
    read = {True: 0.0, False: 0.0}
    attended = {True: 0.0, False: 0.0}
    first = first_on_gpu(shape, setup) if machine.gpus else shape.n_layer
    for index, layer in enumerate(shape.layers):
        on_gpu = index >= first
        read[on_gpu] += layer.dense
        read[on_gpu and index >= setup.cpu_experts] += layer.experts * shape.expert_share
        if layer.k or layer.v:
            seen = min(filled, shape.n_swa) if layer.windowed and shape.n_swa else filled
            attended[on_gpu] += 2.0 * seen * shape.n_embd
    # llama.cpp gives GPUs the output before any layer.
    read[bool(machine.gpus) and setup.gpu_layers != 0] += shape.output + (shape.embedding if shape.tied else 0)
    share = SPEED_CLASS.get(quant, 0.75)
    weights = _STEP + read[False] / (bandwidth(machine, book, HOST) * share)
    attention = attended[False] / (_ATTENTION_PER_THREAD * max(1, machine.n_threads))
    if read[True]:
        slowest = min(bandwidth(machine, book, pool.name) for pool in machine.gpus)
        weights += read[True] / (slowest * share)
        attention += attended[True] / _ATTENTION_ON_GPU
    return Seconds(weights, attention)


def predict(
    shape: Shape, setup: Setup, quant: str, file: str, machine: Machine, book: Book, filled: int = FILLED
) -> Speed:
    seconds = seconds_per_token(shape, setup, quant, machine, book, filled)
    rate = book.rate(quant, file)
    total = seconds.weights * rate.factor + seconds.attention * book.attention.factor
    return Speed(1 / total, 0.1 if rate.count >= TRUSTED else 0.25, book.gain(file))


def bandwidth(machine: Machine, book: Book, name: str) -> float:
    """Bytes a second that a pool is read with: as benchmarked, as the machine says, or what its kind usually has."""
    pool = machine.pool(name)
    return book.bandwidth.get(name) or pool.bandwidth or _DEFAULT_BANDWIDTH[pool.kind]


def first_on_gpu(shape: Shape, setup: Setup) -> int:
    """The first layer that a GPU takes; `n_layer` when it takes none. GPUs take the last layers, and as llama.cpp
    counts, the output is one more."""
    if setup.gpu_layers < 0:
        return 0
    return max(0, shape.n_layer - max(0, setup.gpu_layers - 1)) if setup.gpu_layers else shape.n_layer
