"""The header reader on everything that is no sound model: refused in words, whatever it is."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from fireside_engine.errors import ModelNotFound, NotAModel
from fireside_engine.models.gguf import Header, quick_check, read_header
from fireside_engine.models.gguf_parser import MAX_HEADER, Parsed, parse
from gguf_writer import (
    ARRAY,
    F64,
    I8,
    I64,
    STRING,
    U8,
    U64,
    Tensor,
    Typed,
    gguf,
    pair,
    settings,
    text,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def parsed(content: bytes, size: int | None = None) -> Parsed:
    return parse(lambda length: content[:length], len(content) if size is None else size, "model.gguf")


# --- what it refuses

SAFETENSORS = struct.pack("<Q", 64) + b'{"__metadata__":{}}' + b" " * 60


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (bytes(4096), "begins with zeros"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <HTML><head>", "web page"),
        (b"PK\x03\x04archive/data.pkl", "zip archive"),
        (SAFETENSORS, "safetensors"),
        (b"\x80\x02ctorch", "PyTorch"),
        (b'{"error":"Repository not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"tjgg\x03\0\0\0", "GGML"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"Entry not found", "text"),
        (b"\xde\xad\xbe\xef" * 8, "does not begin like one"),
        (b"GGU", "not a GGUF"),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path / "model.gguf", content)
    for check in (read_header, quick_check):
        with pytest.raises(NotAModel, match=words):
            check(path)


def damaged(**changes: bytes) -> bytes:
    """A file with one setting and one tensor, of which some pieces are replaced."""
    pieces = {
        "magic": b"GGUF",
        "version": struct.pack("<I", 3),
        "counts": struct.pack("<QQ", 1, 1),
        "pair": pair("general.architecture", "llama"),
        "tensor": text("a.weight") + struct.pack("<IQIQ", 1, 32, 0, 0),
    }
    content = b"".join({**pieces, **changes}.values())
    return content.ljust(4096, b"\0")


HUGE = 2**63
TWICE = pair("x", 1) + pair("x", 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (damaged(version=struct.pack("<I", 1)), "version 1"),
        (damaged(version=struct.pack("<I", 0)), "version 0"),
        (damaged(version=struct.pack("<I", 4)), "version 4; versions 2 and 3"),
        (damaged(version=struct.pack(">I", 3)), "big-endian"),
        (damaged(counts=struct.pack("<QQ", HUGE, 1)), f"{HUGE} tensors"),
        (damaged(counts=struct.pack("<QQ", 1, 2**64 - 1)), "settings"),
        (damaged(counts=struct.pack("<QQ", 90_000, 1)), "truncated"),
        (damaged(pair=text("") + struct.pack("<IB", U8, 1)), "no name"),
        (damaged(counts=struct.pack("<QQ", 1, 2), pair=TWICE), "x appears twice"),
        (damaged(pair=struct.pack("<Q", HUGE) + b"abc"), "claims a text"),
        (damaged(pair=text("x") + struct.pack("<I", 13)), "unknown type 13"),
        (damaged(pair=text("x") + struct.pack("<IQ", STRING, 2**24 + 1)), "claims a text"),
        (damaged(pair=text("x") + struct.pack("<IQ", STRING, 2**23)), "truncated"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, ARRAY, 1)), "a list holds lists"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, 99, 1)), "unknown type 99"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, U8, HUGE)), "truncated"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, STRING, HUGE)), "texts"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, STRING, 8_000_000), tensor=b""), "truncated"),
        (damaged(pair=text("x") + struct.pack("<IIQ", ARRAY, STRING, 20) + b"\xff" * 160), "claims a text"),
        (damaged(pair=pair("general.alignment", 0)), "power of two"),
        (damaged(pair=pair("general.alignment", 48)), "power of two"),
        (damaged(pair=pair("general.alignment", Typed(U64, 2**40))), "power of two"),
        (damaged(pair=pair("general.alignment", "32")), "power of two"),
        (damaged(pair=pair("general.alignment", [32])), "power of two"),
        (damaged(tensor=text("x" * 64) + struct.pack("<IQIQ", 1, 32, 0, 0)), "too long"),
        (damaged(tensor=text("a") + struct.pack("<I", 5)), "5 dimensions"),
        (damaged(tensor=text("a") + struct.pack("<IQIQ", 1, 32, 4, 0)), "type this version does not know"),
        (damaged(tensor=text("a") + struct.pack("<IQIQ", 1, 33, 2, 0)), "shape"),
        (damaged(tensor=text("a") + struct.pack("<I4QIQ", 4, *(2**16,) * 4, 0, 0)), "shape"),
        (damaged(tensor=text("a") + struct.pack("<IQIQ", 1, 32, 0, 32)), "not where it should be"),
        (damaged(tensor=text("a") + struct.pack("<IQIQ", 1, 2**40, 0, 0)), "truncated: 4.0 TiB"),
        (damaged(counts=struct.pack("<QQ", 0, 1)), "holds no weights"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(NotAModel, match=words) as caught:
        read_header(write(tmp_path / "model.gguf", content))
    assert caught.value.message.startswith("model.gguf ")


def test_two_tensors_may_not_share_a_name_or_a_place(tmp_path: Path) -> None:
    with pytest.raises(NotAModel, match="appears twice"):
        read_header(write(tmp_path / "m.gguf", gguf(settings(), [Tensor("a"), Tensor("a")])))
    with pytest.raises(NotAModel, match="not where it should be"):
        read_header(write(tmp_path / "m.gguf", gguf(settings(), [Tensor("a"), Tensor("b", offset=0)])))


@pytest.mark.parametrize("cut", [1, 100, 128])
def test_missing_bytes_are_counted(tmp_path: Path, cut: int) -> None:
    content = gguf(settings(), [Tensor("a.weight", (32,))])
    with pytest.raises(NotAModel, match="truncated") as caught:
        read_header(write(tmp_path / "m.gguf", content[:-cut]))
    assert caught.value.details["missing"] == cut
    assert "Download it again" in caught.value.hint


@given(st.data())
@profile(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_shorter_file_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = gguf(settings(), [Tensor("a.weight", (64,)), Tensor("b.weight", (8,))])
    length = data.draw(st.integers(0, len(content) - 32 - 1))
    with pytest.raises(NotAModel):
        read_header(write(tmp_path / "m.gguf", content[:length]))


def test_a_header_without_end_is_not_read_whole() -> None:
    """A file of a terabyte that claims settings for ever: what is read stays below the limit."""
    begin = b"GGUF" + struct.pack("<IQQ", 3, 1, 10_000)
    setting = text("k" * 60_000)
    asked: list[int] = []

    def fetch(length: int) -> bytes:
        asked.append(length)
        content = bytearray(begin)
        for index in range((length - len(begin)) // (len(setting) + 5) + 1):
            content += text(f"{index:06d}" + "k" * 59_994) + struct.pack("<IB", U8, 0)
        return bytes(content[:length])

    with pytest.raises(NotAModel, match="longer than"):
        parse(fetch, 2**40, "model.gguf")
    assert max(asked) <= MAX_HEADER


def mutants(seed: int, content: bytes, count: int) -> list[bytes]:
    """Bit flips, overwritten and inserted numbers, removed and repeated pieces, cut ends; several at once."""
    rng = random.Random(seed)
    numbers = (0, 1, 7, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
    made = []
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(mutant) or 1)
            match rng.randrange(6):
                case 0:
                    mutant[place : place + 1] = bytes([rng.randrange(256)])
                case 1:
                    mutant[place : place + 8] = struct.pack("<Q", rng.choice(numbers))
                case 2:
                    mutant[place : place + 4] = struct.pack("<I", rng.choice(numbers) % 2**32)
                case 3:
                    del mutant[place : place + rng.randint(1, 40)]
                case 4:
                    mutant[place:place] = mutant[place : place + rng.randint(1, 40)]
                case _:
                    del mutant[place:]
        made.append(bytes(mutant))
    return made


PROPERTIES = sorted(name for name, member in vars(Header).items() if isinstance(member, property))


def test_mutants_are_read_or_refused() -> None:
    """5,000 hostile headers: never another error, never for ever."""
    rich = settings() | {
        "llama.attention.head_count_kv": [1, 2, 3],
        "flags": [True, False],
        "negative": Typed(I8, -1),
        "long": Typed(I64, [2**40] * 1030),
        "tokenizer.ggml.merges": [f"a {index}" for index in range(70)],
        "double": Typed(F64, 0.5),
    }
    table = [Tensor("a.weight", (256, 2), "Q4_K"), Tensor("b.weight", (32, 2, 2)), Tensor("c.weight", (256,), "Q8_0")]
    content = gguf(rich, table)
    assert parsed(content).tensors
    # Most of the file is one array; mutating the shorter file hits the structure more often.
    short = gguf(settings(), table)
    refused = 0
    for mutant in (*mutants(1, content, 2000), *mutants(2, short, 3000)):
        try:
            found = parsed(mutant)
            header = Header(found.version, found.metadata, found.tensors, found.data_offset, len(mutant))
            for name in PROPERTIES:
                getattr(header, name)
        except NotAModel as error:
            refused += 1
            assert error.message.startswith("model.gguf ")
            assert error.message.isprintable()
    assert 2000 < refused < 5000


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_header(tmp_path / "missing.gguf")
    with pytest.raises(NotAModel, match="folder"):
        read_header(tmp_path)
    with pytest.raises(NotAModel, match="path is not valid"):
        read_header(tmp_path / "a\0b.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(NotAModel, match="not a regular file"):
        read_header(tmp_path / "pipe.gguf")


def test_names_in_errors_cannot_steer_a_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "evil\x1b]0;x\x07\u202e\n.gguf", b"")
    with pytest.raises(NotAModel) as caught:
        read_header(path)
    assert str(caught.value).isprintable()
