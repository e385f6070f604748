"""llama.vim in a real Vim in a real terminal: a hand types, ghost text appears, Tab takes it."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from conftest import HOME, LIMIT, Engine

pytestmark = pytest.mark.model


class Terminal:
    """Vim in tmux."""

    def __init__(self, socket: Path, *words: str) -> None:
        self._socket = str(socket)
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", *words)

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-S", self._socket, *words], text=True, capture_output=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, text: str) -> None:
        for character in text:
            self._tmux("send-keys", "-l", character)
            time.sleep(0.05)

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def close(self) -> None:
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, timeout=30)


def test_ghost_text_is_taken_with_tab(engine: Engine, tmp_path: Path) -> None:
    plugin = HOME / "llama.vim"
    for needed in ("vim", "tmux", "curl"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    if not plugin.is_dir():
        pytest.skip(f"llama.vim is not in {HOME}")
    file = tmp_path / "area.py"
    file.write_text("import math\n\n\ndef perimeter(r):\n    return 2 * math.pi * r\n\n\n", encoding="utf-8")
    vimrc = tmp_path / "vimrc"
    lines = engine.lines("llama.vim", "coder")
    vimrc.write_text(f"set nocompatible noswapfile\nset rtp+={plugin}\n{lines}\nruntime plugin/llama.vim\n")
    subprocess.run(
        ["curl", "-s", f"{engine.url}/props?model=coder"], check=True, capture_output=True, timeout=LIMIT
    )  # the model is loaded
    terminal = Terminal(tmp_path / "tmux", "vim", "-u", str(vimrc), "-i", "NONE", str(file))
    try:
        time.sleep(1.0)
        terminal.type("Go")
        terminal.type("def area(r):")
        terminal.press("Enter")
        deadline = time.monotonic() + 60
        while "math.pi" not in terminal.screen().split("area(r):")[-1]:
            assert time.monotonic() < deadline, terminal.screen()
            time.sleep(0.2)
        print(terminal.screen())
        terminal.press("Tab")
        time.sleep(0.5)
        terminal.press("Escape")
        time.sleep(0.5)
        terminal.type(":wq")
        terminal.press("Enter")
        deadline = time.monotonic() + 20
        while "math.pi" not in (written := file.read_text(encoding="utf-8")).split("area(r):")[-1]:
            assert time.monotonic() < deadline, (written, terminal.screen())
            time.sleep(0.2)
    finally:
        terminal.close()
    assert "return math.pi * r" in written
    compile(written, "area.py", "exec")
