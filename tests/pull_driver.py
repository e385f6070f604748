"""Pulls of tests: the command in a process of its own, and what it left behind."""

from __future__ import annotations

import os
import random
from pathlib import Path

from cli_driver import Done, fireside
from gguf_writer import Tensor, gguf, settings

REPO = "nobody/Lamp-7B-GGUF"
NAME = "Lamp-7B-Q4_K_M"


def model(weights: int = 256 * 1024, seed: int = 1) -> bytes:
    """A GGUF with random weights, so that no piece of it stands for another."""
    data = gguf(settings(), [Tensor("token_embd.weight", (weights,))])
    return data[: -4 * weights] + random.Random(seed).randbytes(4 * weights)


LAMP = model()


def pull(*words: str, **environment: str) -> Done:
    return fireside("pull", *words, env={**os.environ, **environment})


def final(models: Path) -> Path:
    return models / "nobody" / "Lamp-7B-GGUF" / f"{NAME}.gguf"


def left_over(models: Path) -> list[str]:
    return sorted(path.name for path in (models / ".pull").rglob("*") if path.is_file())
