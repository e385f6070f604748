"""One file is fetched through every kind of trouble; the server is a function, the disk is real."""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.errors import NoConnection, NoSpace, NotAModel, Overloaded, WrongBytes
from fireside_engine.models import acquire_file, disk_space
from fireside_engine.models.acquire_file import ATTEMPTS, WORTH, fetch
from fireside_engine.models.hub_file import CutOffError, Digest, HubFile, Reply
from gguf_writer import gguf

DATA = gguf({})[:24] + random.Random(0).randbytes(4 * WORTH)
FILE = HubFile("x.gguf", len(DATA), Digest("sha256", hashlib.sha256(DATA).hexdigest()))


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited."""
    waited: list[float] = []
    monkeypatch.setattr(acquire_file.time, "sleep", waited.append)
    return waited


@dataclass
class Server:
    """Answers with pieces of `data`, and does what `script` says: one entry for each answer."""

    data: bytes = DATA
    script: list[object] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    sent: int = 0

    @contextmanager
    def open(self, begin: int) -> Iterator[Reply]:
        self.asked.append(begin)
        act = self.script.pop(0) if self.script else None
        if act == "busy":
            raise CutOffError(Overloaded("It is busy.", retry_after=17))
        if act == "refuse":
            raise CutOffError(NoConnection("It refuses."))
        if act == "shift":
            yield Reply(begin + 7, self._chunks(begin + 7, None))
            return
        start = 0 if act == "whole" else begin
        yield Reply(start, self._chunks(start, act if isinstance(act, int) else None))

    def _chunks(self, begin: int, limit: int | None) -> Iterator[bytes]:
        count = 0
        for place in range(begin, len(self.data), 5000):
            piece = self.data[place : place + 5000]
            if limit is not None and count + len(piece) > limit:
                piece = piece[: limit - count]
            count += len(piece)
            self.sent += len(piece)
            if piece:
                yield piece
            if limit is not None and count >= limit:
                raise CutOffError(NoConnection("It was cut."))


class Ledger:
    """A watcher that adds up."""

    def __init__(self) -> None:
        self.at = 0
        self.troubles = 0

    def hashed(self, count: int) -> None:
        self.at += count

    def fetched(self, count: int) -> None:
        self.at += count

    def trouble(self, error: CutOffError, pause: float) -> None:
        self.troubles += 1


ACTS = st.lists(st.one_of(st.integers(0, len(DATA)), st.sampled_from(["refuse", "whole", "shift"])), max_size=5)


@given(script=ACTS, begun=st.binary(max_size=40) | st.integers(0, len(DATA)), data=st.data())
def test_it_ends_with_the_right_bytes(script: list[object], begun: bytes | int, data: st.DataObject) -> None:
    """Whatever an earlier attempt left, right or wrong, and however answers end."""
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "x"
        partial.write_bytes(begun if isinstance(begun, bytes) else DATA[:begun])
        server, ledger = Server(script=list(script)), Ledger()
        fetch(FILE, partial, server.open, ledger)
        assert partial.read_bytes() == DATA
        assert ledger.at == len(DATA)
        assert ledger.troubles <= len(script)


@given(cuts=st.lists(st.integers(0, len(DATA)), max_size=20))
def test_cuts_alone_cost_no_byte(cuts: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(script=[cut for cut in cuts if cut >= WORTH])
        fetch(FILE, Path(folder) / "x", server.open, Ledger())
        assert server.sent == len(DATA)


def test_a_server_that_gives_nothing_is_given_up(tmp_path: Path, pauses: list[float]) -> None:
    server = Server(script=["refuse"] * 50)
    with pytest.raises(NoConnection, match="It refuses"):
        fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert len(server.asked) == ATTEMPTS
    assert len(pauses) == ATTEMPTS - 1
    assert all(0 < pause <= 8 for pause in pauses)
    assert (tmp_path / "x").exists()


def test_a_server_that_asks_for_a_pause_gets_it(tmp_path: Path, pauses: list[float]) -> None:
    fetch(FILE, tmp_path / "x", Server(script=["busy"]).open, Ledger())
    assert pauses == [17]


def test_progress_gives_new_attempts(tmp_path: Path) -> None:
    script = [act for _ in range(3) for act in ["refuse"] * (ATTEMPTS - 1) + [WORTH]]
    server = Server(script=script)
    fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert (tmp_path / "x").read_bytes() == DATA


def test_wrong_bytes_are_fetched_twice_and_thrown_away(tmp_path: Path) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    server = Server(wrong)
    with pytest.raises(WrongBytes) as caught:
        fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert caught.value.details == {
        "expected": hashlib.sha256(DATA).hexdigest(),
        "found": hashlib.sha256(wrong).hexdigest(),
    }
    assert server.sent == 2 * len(DATA)
    assert not (tmp_path / "x").exists()


def test_an_answer_longer_than_the_file_is_not_taken(tmp_path: Path) -> None:
    server = Server(DATA + bytes(20_000))
    with pytest.raises(WrongBytes, match="other bytes"):
        fetch(FILE, tmp_path / "x", server.open, Ledger())


def test_a_web_page_is_noticed_by_its_first_bytes(tmp_path: Path) -> None:
    server = Server(b"<!doctype html>" + bytes(len(DATA)))
    with pytest.raises(NotAModel, match="it looks like a web page"):
        fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert server.sent == 5000


def test_nothing_is_fetched_that_cannot_be_compared(tmp_path: Path) -> None:
    server = Server()
    with pytest.raises(WrongBytes, match="states no checksum"):
        fetch(HubFile("x.gguf", len(DATA), None), tmp_path / "x", server.open, Ledger())
    assert server.asked == []


def test_the_disk_is_looked_at_again_while_it_fills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_space, "RECHECK", WORTH)
    monkeypatch.setattr(
        disk_space.shutil, "disk_usage", lambda path: type("Usage", (), {"free": disk_space.RESERVE + 3 * WORTH})
    )
    server = Server()
    with pytest.raises(NoSpace, match="more on the disk"):
        fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert server.sent == 5000
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**12}))
    fetch(FILE, tmp_path / "x", server.open, Ledger())
    assert (tmp_path / "x").read_bytes() == DATA


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(Exception, match="cannot be written: Is a directory"):
        fetch(FILE, tmp_path / "x", Server().open, Ledger())
