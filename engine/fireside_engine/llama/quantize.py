"""Makes a smaller file of a model, with llama.cpp's own quantization. Belongs into a process of its own."""

from __future__ import annotations

import ctypes
import logging
import re
from collections.abc import Callable
from pathlib import Path

from fireside_engine.errors import InternalError, InvalidRequest, ModelUnsupported
from fireside_engine.llama import library
from fireside_engine.llama.library import api

FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30,
    "BF16": 32, "IQ3_S": 26, "IQ3_M": 27,
}  # fmt: skip
"""llama_ftype of llama.h: those that need no importance matrix."""

_STEP = re.compile(r"\[\s*(\d+)\s*/\s*(\d+)\s*\]")


def file_type(quant: str) -> int:
    """Raises InvalidRequest with what there is."""
    number = FILE_TYPES.get(quant.upper())
    if number is None:
        known = ", ".join(FILE_TYPES)
        raise InvalidRequest(f"{quant} cannot be made here.", hint=f"These can: {known}.")
    return number


def quantize(source: Path, target: Path, quant: str, n_threads: int, progress: Callable[[float], None]) -> None:
    """`target` is written as it grows; what is there of it after an error is of no use.

    Sources that are quantized already are accepted. Raises ModelUnsupported with llama.cpp's reason.
    """
    library.start()
    params = api.llama_model_quantize_default_params()
    params.nthread = n_threads
    params.ftype = file_type(quant)
    params.allow_requantize = True
    told = _Told(progress)
    logger = logging.getLogger(library.__name__)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(told)
    try:
        with library.capture() as log:
            status = api.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))
            if status != 0:
                raise ModelUnsupported(f"llama.cpp cannot quantize {source.name} to {quant}: {log.reason()}.")
    finally:
        logger.removeHandler(told)
        logger.setLevel(level)
    if not target.is_file():
        raise InternalError(f"llama.cpp wrote no file for {quant}.")
    progress(1.0)


class _Told(logging.Handler):
    """Hears of each tensor as llama.cpp logs it: `[ 12/ 291] blk.0…`."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        if found := _STEP.search(record.getMessage()):
            self._progress(int(found[1]) / max(1, int(found[2])))
