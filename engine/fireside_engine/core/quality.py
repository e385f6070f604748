"""How close a quantization stays to the model it was made from.

The measure is the KL divergence of next-token distributions from those of the full-precision model. Class values are
llama.cpp's own measurements for Llama-3-8B on wikitext (tools/perplexity/README.md); a type does better on larger
models and worse on smaller ones, and same-named files of different makers differ up to fivefold. So they are shown as
bands, and a value measured on this machine for this very file goes before them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

REFERENCE_PARAMS = 8e9
"""Of the model that the class values were measured on."""

CLASS_KLD = {
    "F32": 0.0, "BF16": 0.0006, "F16": 0.0006, "Q8_0": 0.0014, "Q6_K": 0.0055, "Q5_K_M": 0.0108, "Q5_K_S": 0.0166,
    "Q4_K_M": 0.0282, "Q4_K_S": 0.0320, "IQ4_XS": 0.0363, "Q4_0": 0.0719, "Q3_K_L": 0.0731, "Q3_K_M": 0.0844,
    "IQ3_M": 0.1025, "IQ3_XXS": 0.184, "Q3_K_S": 0.200, "IQ2_M": 0.326, "Q2_K": 0.332, "IQ2_XXS": 0.812,
    "IQ1_S": 2.21,
}  # fmt: skip

SPEED_CLASS = {
    "F32": 1.0, "F16": 1.0, "BF16": 1.0, "Q8_0": 0.93, "Q6_K": 0.83, "Q5_K_M": 0.82, "Q5_K_S": 0.83, "Q4_K_M": 0.75,
    "Q4_K_S": 0.77, "IQ4_XS": 0.74, "Q3_K_L": 0.64, "Q3_K_M": 0.61, "IQ3_M": 0.57, "IQ3_XXS": 0.52, "Q3_K_S": 0.55,
    "IQ2_M": 0.47, "Q2_K": 0.54, "IQ2_XXS": 0.41, "IQ1_S": 0.34,
}  # fmt: skip
"""Bytes read in a second while decoding, as a part of those of F16 (llama.cpp's tools/quantize/README.md,
Llama-3.1-8B). Until this machine was measured."""

BITS = {
    "F32": 32.0, "F16": 16.0, "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.56, "Q5_K_M": 5.7, "Q5_K_S": 5.57, "Q5_1": 6.0,
    "Q5_0": 5.5, "Q4_K_M": 4.89, "Q4_K_S": 4.67, "Q4_1": 5.0, "Q4_0": 4.5, "IQ4_NL": 4.6, "IQ4_XS": 4.46, "MXFP4": 4.25,
    "Q3_K_L": 4.3, "Q3_K_M": 4.0, "IQ3_M": 3.76, "IQ3_S": 3.6, "Q3_K_S": 3.64, "IQ3_XS": 3.4, "IQ3_XXS": 3.25,
    "IQ2_M": 2.93, "Q2_K": 3.16, "Q2_K_S": 3.0, "IQ2_S": 2.7, "IQ2_XS": 2.5, "IQ2_XXS": 2.38, "IQ1_M": 2.15,
    "IQ1_S": 2.0,
}  # fmt: skip
"""Bits of one weight, all tensors of a model together."""

NATIVE = frozenset({"MXFP4", "NVFP4"})
"""Types that models are trained in: there is no better file of them."""

DOMINATED = {
    "Q4_0": "Q4_K_S", "Q4_1": "Q4_K_M", "Q5_0": "Q5_K_S", "Q5_1": "Q5_K_M", "Q3_K_S": "IQ3_M", "Q2_K": "IQ2_M",
    "Q2_K_S": "IQ2_M", "IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS",
}  # fmt: skip
"""Types that another one beats in size and quality at once."""


@dataclass(frozen=True, slots=True)
class Band:
    """A class of loss."""

    name: str
    below: float
    """Upper bound of the KL divergence."""


BANDS = (
    Band("near-lossless", 0.01),
    Band("very good", 0.05),
    Band("good", 0.12),
    Band("noticeable", 0.25),
    Band("poor", 0.5),
    Band("broken", math.inf),
)


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known of one file."""

    kld: float
    measured: bool = False
    """On this machine, for this file; else it is the value of its class."""
    same_top: float | None = None
    """How often the likeliest token is the same, 0 to 1."""

    @property
    def band(self) -> Band:
        return next(band for band in BANDS if self.kld < band.below)

    @property
    def rank(self) -> int:
        """0 is the best band."""
        return BANDS.index(self.band)


def class_quality(quant: str, n_params: float, *, moe: bool = False) -> Quality:
    """The class value of a type, adjusted to the size of the model.

    Loss falls about with the root of the size: Q4_K_M measured 0.028 at 8B and 0.006 at 27B. Models of experts lose
    about as much as dense ones of half their size.
    """
    if quant in NATIVE:
        return Quality(CLASS_KLD["Q8_0"])
    kld = CLASS_KLD.get(quant)
    if kld is None:
        kld = _between(BITS.get(quant, 4.5))
    size = max(1e8, n_params / 2 if moe else n_params)
    return Quality(kld * math.sqrt(REFERENCE_PARAMS / size))


def worst_allowed(n_params: float) -> int:
    """Rank of the lowest band that is chosen unasked: large models stand more loss than small ones."""
    if n_params >= 100e9:
        return 4
    return 3 if n_params >= 20e9 else 2


def _between(bits: float) -> float:
    """The class value of a type without one, from its bits: between its neighbours, evenly in the logarithm."""
    known = sorted((BITS[quant], kld) for quant, kld in CLASS_KLD.items() if kld > 0 and quant not in DOMINATED)
    below = max((pair for pair in known if pair[0] <= bits), default=known[0])
    above = min((pair for pair in known if pair[0] >= bits), default=known[-1])
    if below[0] == above[0]:
        return below[1]
    part = (bits - below[0]) / (above[0] - below[0])
    return math.exp(math.log(below[1]) * (1 - part) + math.log(above[1]) * part)
