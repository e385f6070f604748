"""An engine with the models that the clients ask, and the clients themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fireside.editors import EDITORS, lines_for
from fireside_engine import address
from real_engine import RealEngine

HOME = Path(os.environ.get("FIRESIDE_CLIENTS", Path.home() / ".cache" / "fireside-clients"))
PROGRAMS = Path(__file__).parent / "programs"
LIMIT = 300.0
"""Seconds after which a client is stuck: agents begin with ten thousand tokens."""


@dataclass(frozen=True)
class Engine:
    """A real engine that runs. Models: `small`, 0.5B, and `coder`, 1.5B."""

    url: str
    port: int

    def lines(self, editor: str, model: str) -> str:
        """What `fireside connect` prints."""
        return lines_for(EDITORS[editor], host="127.0.0.1", port=self.port, model=model, key="none")


@dataclass(frozen=True)
class Client:
    """A program of others, in a home of its own."""

    program: str
    home: Path

    def run(
        self, *words: str, stdin: str = "", where: Path | None = None, with_stderr: bool = False, **environment: str
    ) -> str:
        """What it wrote; it must succeed."""
        shown = {**os.environ, "HOME": str(self.home), "NO_COLOR": "1", "CI": "1", **environment}
        for name in ("PYTHONPATH", "FIRESIDE_HOME"):
            shown.pop(name, None)
        done = subprocess.run(
            [self.program, *words],
            input=stdin,
            cwd=where or self.home,
            env=shown,
            text=True,
            capture_output=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, (words, done.stdout[-3000:], done.stderr[-3000:])
        return done.stdout + done.stderr if with_stderr else done.stdout


def find(name: str) -> str:
    """Where a program is. Skips the test when it is nowhere."""
    places = [*sorted(HOME.glob("v-*/bin")), HOME / "js" / "node_modules" / ".bin"]
    for place in places:
        if (place / name).exists():
            return str(place / name)
    if (found := shutil.which(name)) is not None:
        return found
    pytest.skip(f"{name} is not installed in {HOME}")


@pytest.fixture(scope="module")
def engine(qwen: Path, qwen_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("engine")
        patch.setenv(address.HOME_VARIABLE, str(home))
        patch.setenv("FIRESIDE_OTHER_STORES", "0")
        real = RealEngine(home, small=qwen_small, coder=qwen)
        try:
            assert real.cli("run", "-m", "small", "-n", "1", "Hi").code == 0
            record = address.read_record()
            assert record is not None
            yield Engine(record.url, int(record.url.rpartition(":")[2]))
        finally:
            patch.setenv(address.HOME_VARIABLE, str(home))
            real.stop()


@pytest.fixture
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """The program that `@pytest.mark.parametrize("client", …, indirect=True)` names."""
    home = tmp_path / "home-of-client"
    home.mkdir()
    return Client(find(request.param), home)


@pytest.fixture
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    """The interpreter of an environment with that package."""
    home = tmp_path / "home-of-client"
    home.mkdir()
    for place in sorted(HOME.glob("v-*")):
        if list(place.glob(f"lib/python*/site-packages/{request.param}")):
            return Client(str(place / "bin" / "python"), home)
    pytest.skip(f"{request.param} is not installed in {HOME}")
