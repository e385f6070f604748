"""Headers of models that are not here yet: little is fetched, and what is read is what the whole file would say."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fireside_engine.errors import NoConnection, NotAModel
from fireside_engine.models import remote_header
from fireside_engine.models.gguf import read_header
from fireside_engine.models.hub_file import CutOffError, Digest, HubFile, Listing, Reply, group
from fireside_engine.models.remote_header import skeleton
from gguf_writer import STRING, Tensor, Typed, gguf, settings, write_model, write_split


class Hub:
    """Files in memory."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[int, int]] = []
        self.cuts = 0
        self.ranges = True

    @property
    def listing(self) -> Listing:
        files = [
            HubFile(path, len(data), Digest("sha256", hashlib.sha256(data).hexdigest()))
            for path, data in self.files.items()
        ]
        return Listing("a/b", "c" * 40, group(files))

    @contextmanager
    def open(self, repo: str, commit: str, file: HubFile, begin: int = 0, end: int | None = None) -> Iterator[Reply]:
        assert (repo, commit) == ("a/b", "c" * 40)
        self.asked.append((begin, end or file.size))
        if not self.ranges:
            begin, end = 0, file.size
        yield Reply(begin, self._chunks(self.files[file.path][begin:end]))

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        for place in range(0, len(data), 65536):
            yield data[place : place + 65536]
            if self.cuts:
                self.cuts -= 1
                raise CutOffError(NoConnection("It was cut."))


def large() -> bytes:
    """3 MiB of vocabulary, 40 MiB of weights."""
    tokens = [f"token number {number}" for number in range(120_000)]
    head = settings() | {"tokenizer.ggml.tokens": Typed(STRING, tokens)}
    return gguf(head, [Tensor("token_embd.weight", (10 * 1024 * 1024,))])


def test_the_header_alone_is_fetched_and_says_the_same(tmp_path: Path) -> None:
    data = large()
    (tmp_path / "whole.gguf").write_bytes(data)
    hub = Hub({"sub/Big-Q4_K_M.gguf": data})
    found = skeleton(hub, hub.listing, hub.listing.models[0], tmp_path / "cache")
    whole = read_header(tmp_path / "whole.gguf")
    assert found.header == whole
    assert found.path.name == "Big-Q4_K_M.gguf"
    assert found.path.stat().st_size == len(data)
    assert found.path.stat().st_blocks * 512 < len(data) / 4
    assert whole.data_offset <= found.fetched <= 2 * whole.data_offset + 1024 * 1024
    assert sum(end - begin for begin, end in hub.asked) == found.fetched
    again = skeleton(hub, hub.listing, hub.listing.models[0], tmp_path / "cache")
    assert (again.path, again.fetched) == (found.path, 0)


def test_all_parts_of_a_split_model(tmp_path: Path) -> None:
    parts = write_split(tmp_path, "Big-Q8_0", 3)
    hub = Hub({path.name: path.read_bytes() for path in parts})
    found = skeleton(hub, hub.listing, hub.listing.models[0], tmp_path / "cache")
    assert found.header == read_header(parts[0])
    assert found.header.n_shards == 3


def test_a_server_without_ranges_is_read_no_further_than_needed(tmp_path: Path) -> None:
    hub = Hub({"x.gguf": large()})
    hub.ranges = False
    assert skeleton(hub, hub.listing, hub.listing.models[0], tmp_path).header.n_vocab == 120_000


def test_cuts_are_taken_up_and_then_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_header.time, "sleep", lambda _seconds: None)
    hub = Hub({"x.gguf": large()})
    hub.cuts = 2
    assert skeleton(hub, hub.listing, hub.listing.models[0], tmp_path).header.n_vocab == 120_000
    hub.cuts = 50
    with pytest.raises(NoConnection):
        skeleton(hub, hub.listing, hub.listing.models[0], tmp_path / "other")
    assert list((tmp_path / "other").rglob("*.gguf")) == []


@pytest.mark.parametrize(
    "data",
    [
        b"<!doctype html>" + bytes(3000),
        b"GGUF" + struct.pack("<IQQ", 3, 2**40, 5) + bytes(3000),
        bytes(5000),
        large()[:-1],
    ],
)
def test_what_is_no_model_is_refused_and_not_kept(tmp_path: Path, data: bytes) -> None:
    hub = Hub({"x.gguf": data})
    with pytest.raises(NotAModel):
        skeleton(hub, hub.listing, hub.listing.models[0], tmp_path)
    assert list(tmp_path.rglob("*.gguf")) == []


def test_names_of_strangers_become_no_paths(tmp_path: Path) -> None:
    hub = Hub({"a\x1b.gguf": write_model(tmp_path / "x.gguf").read_bytes()})
    with pytest.raises(NotAModel, match="no name that a model file may have"):
        skeleton(hub, hub.listing, hub.listing.models[0], tmp_path)


def test_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_header, "KEEP", 2)
    for size in (32, 64, 96):
        hub = Hub({f"x{size}.gguf": write_model(tmp_path / "x.gguf", size=size).read_bytes()})
        skeleton(hub, hub.listing, hub.listing.models[0], tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "headers").iterdir())) == 2
