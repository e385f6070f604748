"""Drawing tokens from logits: deterministic in seed and position, and the same on every machine.

`reference` says how a token is drawn, `kernels` does it fast, `noise` and `params` are what both stand on, `sampler` is
the door. Importing this package does not import numba.
"""

from fireside_engine.core.sampling.params import NothingAllowed, SamplingError, UnusableLogits
from fireside_engine.core.sampling.sampler import Sampler, compiled, warm_up

__all__ = ["NothingAllowed", "Sampler", "SamplingError", "UnusableLogits", "compiled", "warm_up"]
