"""Joules of the processor, where the kernel lets us read them: RAPL below /sys/class/powercap."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Counts from its making or from the last `take`. All that the machine does is in it, not only the engine."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._packages: list[tuple[Path, int]] = []
        """Counter files of whole packages, and where each begins anew, in microjoules."""
        self.why_not = ""
        """Why nothing can be read, in words; empty if it can."""
        try:
            zones = sorted(root.iterdir()) if root.is_dir() else []
            for zone in zones:
                if (zone / "name").is_file() and (zone / "name").read_text().startswith(("package", "psys")):
                    limit = int((zone / "max_energy_range_uj").read_text())
                    self._packages.append((zone / "energy_uj", limit))
            self._packages = _without_parts(self._packages)
            self._last = self._read()
        except (OSError, ValueError) as cause:
            self._packages, self.why_not = [], f"this machine's counters cannot be read ({cause})"
        else:
            if not self._packages:
                self.why_not = f"this machine has no energy counters in {root}"

    def take(self) -> float | None:
        """Joules since the last time; None where they cannot be read."""
        if not self._packages:
            return None
        try:
            now = self._read()
        except (OSError, ValueError) as cause:
            self._packages, self.why_not = [], f"this machine's counters stopped answering ({cause})"
            return None
        spent = 0
        for (_, limit), before, after in zip(self._packages, self._last, now, strict=True):
            spent += after - before if after >= before else after + limit - before
        self._last = now
        return spent / 1e6

    def _read(self) -> list[int]:
        return [int(path.read_text()) for path, _ in self._packages]


def _without_parts(packages: list[tuple[Path, int]]) -> list[tuple[Path, int]]:
    """`psys` counts the whole board, its packages included; where both are there, packages are counted."""
    names = {path: (path.parent / "name").read_text() for path, _ in packages}
    whole = [entry for entry in packages if names[entry[0]].startswith("package")]
    return whole or packages
