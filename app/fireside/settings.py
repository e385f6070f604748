"""What the environment says about the command line. Standard library only."""

from __future__ import annotations

import os

MODEL_VARIABLE = "FIRESIDE_MODEL"
PLAIN_VARIABLES = ("FIRESIDE_PLAIN", "ACCESSIBLE")


def default_model() -> str:
    """The model to ask when none is named; empty lets the engine choose."""
    return os.environ.get(MODEL_VARIABLE, "").strip()


def wants_plain() -> bool:
    """Whether the user asked for linear text instead of a drawn screen, as screen readers need it."""
    return any(os.environ.get(name, "") not in ("", "0") for name in PLAIN_VARIABLES)
