"""Model files that come as Python packages: the starter, which is there before anything was downloaded.

A package is found without importing it: it may drag in libraries that only workers may load.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def find_in_package(package: str, file_name: str) -> Path | None:
    """The file that the installed top-level package carries, or None."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / file_name
        if path.is_file():
            return path
    return None
