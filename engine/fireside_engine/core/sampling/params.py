"""SamplingParams made ready for drawing: checked once, switched-off stages marked, numbers in the types of the kernels.

Kernel and twin read the same Rules, so what a parameter means is decided here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fireside_engine.core.request import SamplingParams
from fireside_engine.core.sampling import noise
from fireside_engine.errors import InternalError, InvalidRequest

LARGEST: Final = float(np.finfo(np.float32).max)
"""Adjusted logits stay within ± this, so that a huge bias cannot make an infinity or a NaN."""
EVERY: Final = 2**62
"""A window of penalties longer than any history."""
UNUSABLE: Final = -1
"""Result of a draw: a logit is NaN or plus infinity."""
NOTHING: Final = -2
"""Result of a draw: no token may be drawn."""


Number = TypeVar("Number", np.int32, np.float64)


class SamplingError(InternalError, ValueError):
    """No token can be drawn."""


class UnusableLogits(SamplingError):
    """The model computed NaN or infinity; any token drawn from that would be garbage."""


class NothingAllowed(SamplingError):
    """Mask, bans and logits together leave no token."""


class Rules(NamedTuple):
    """How to draw; a stage that is off has the value in which it changes nothing. A named tuple is what numba takes."""

    stream: int
    """Start of the seed's noise, as a signed 64 bit integer."""
    temperature: float
    """0 draws the largest logit."""
    top_n_sigma: float
    """0 is off."""
    top_k: int
    """0 is off."""
    top_p: float
    """1 is off."""
    ln_min_p: float
    """Minus infinity is off."""
    last_n: int
    """Length of the window of penalties; 0 is off."""
    repeat: float
    presence: float
    frequency: float
    bias_ids: NDArray[np.int32]
    bias_values: NDArray[np.float64]
    banned: NDArray[np.int32]


def rules(params: SamplingParams, n_vocab: int, banned: Sequence[int] = ()) -> Rules:
    """Check and prepare; raises InvalidRequest for what no draw can follow."""
    for name in ("temperature", "top_p", "min_p", "top_n_sigma", "presence_penalty", "frequency_penalty"):
        _require(math.isfinite(getattr(params, name)), f"{name} must be a finite number.")
    _require(1e-6 <= params.repeat_penalty <= 1e6, "repeat_penalty must be between 0.000001 and 1000000.")
    _require(not any(math.isnan(value) for _, value in params.logit_bias), "logit_bias must be numbers.")
    forbidden = [*banned, *(token for token, value in params.logit_bias if value == -math.inf)]
    bias = [(token, value) for token, value in params.logit_bias if value not in (0, -math.inf)]
    for token in (*forbidden, *(token for token, _ in bias)):
        _require(0 <= token < n_vocab, f"There is no token {token}: the model has {n_vocab}.")

    no_penalty = params.repeat_penalty == 1 and params.presence_penalty == 0 and params.frequency_penalty == 0
    only_largest = params.temperature <= 0 or params.top_k == 1 or params.top_p <= 0
    return Rules(
        stream=_signed(noise.stream(params.seed)),
        temperature=0.0 if only_largest else float(params.temperature),
        top_n_sigma=max(0.0, float(params.top_n_sigma)),
        top_k=params.top_k if 0 < params.top_k < n_vocab else 0,
        top_p=min(1.0, float(params.top_p)),
        ln_min_p=-math.inf if params.min_p <= 0 else float(noise.ln(np.array([min(1.0, params.min_p)]))[0]),
        last_n=0 if no_penalty else min(params.penalty_last_n, EVERY) if params.penalty_last_n >= 0 else EVERY,
        repeat=float(params.repeat_penalty),
        presence=_clamped(params.presence_penalty),
        frequency=_clamped(params.frequency_penalty),
        bias_ids=_read_only(np.array([token for token, _ in bias], np.int32)),
        bias_values=_read_only(np.array([_clamped(value) for _, value in bias], np.float64)),
        banned=_read_only(np.array(forbidden, np.int32)),
    )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidRequest(message)


def _clamped(value: float) -> float:
    return min(max(float(value), -LARGEST), LARGEST)


def _read_only(array: NDArray[Number]) -> NDArray[Number]:
    array.flags.writeable = False
    return array


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
