"""A models folder with a small models.toml, for tests of the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from fireside_engine.models.catalogue import Catalogue
from gguf_writer import write_model

PACKAGED = """
[families.lamp]
title = "Lamp"
publisher = "Nobody"

[models.lamp-7b]
family = "lamp"
aliases = ["lamp"]
parameters = 7_000_000_000
licence = "Apache-2.0"
roles = ["chat", "code"]
small = "lamp-1b"
source = { kind = "hub", repo = "nobody/Lamp-7B-GGUF", file = "Lamp-7B-{quant}.gguf", quant = "Q4_K_M" }

[models.lamp-1b]
family = "lamp"
source = { kind = "hub", repo = "nobody/Lamp-1B-GGUF", file = "lamp-1b.{quant}.gguf", quant = "Q8_0" }

[models.wick]
aliases = ["starter"]
starter = true
source = { kind = "package", package = "wick_package", file = "wick.gguf", install = "pip install wick" }

[models.lamp-embed]
roles = ["embedding"]
source = { kind = "hub", repo = "nobody/Lamp-Embed", file = "lamp-embed.gguf" }
"""


def make_folder(root: Path) -> Path:
    path = root / "models"
    path.mkdir(exist_ok=True)
    return path


def make_packaged(root: Path) -> Path:
    path = root / "packaged.toml"
    path.write_text(PACKAGED)
    return path


def make_catalogue(root: Path) -> Catalogue:
    """Of `root/models`, with the user's files `root/models.toml` and `root/config.toml`, which do not exist yet."""
    return Catalogue(make_folder(root), make_packaged(root), root / "models.toml", config_file=root / "config.toml")


def install_starter(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """Put the starter's package on the path and return its file; importing the package is an error."""
    package = root / "site" / "wick_package"
    path = write_model(package / "wick.gguf")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    patch.syspath_prepend(package.parent)
    return path


def shown(catalogue: Catalogue) -> list[str]:
    return [entry.name for entry in catalogue.list()]
