"""The header reader: what it says of sound models, whole and split."""

from __future__ import annotations

import ctypes
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.errors import NotAModel
from fireside_engine.models.gguf import quick_check, read_header
from fireside_engine.models.gguf_parser import SHORT_ARRAY, LongArray, Parsed, parse
from fireside_engine.models.gguf_types import FILE_TYPES, TENSOR_TYPES
from gguf_writer import (
    BOOL,
    F32,
    F64,
    FORMATS,
    STRING,
    TYPES,
    U32,
    Tensor,
    Typed,
    gguf,
    settings,
    write_model,
    write_split,
)

RANGES = {kind: (0, 2 ** (8 * struct.calcsize(form)) - 1) for kind, form in FORMATS.items() if form in "BHIQ"} | {
    kind: (-(2 ** (8 * struct.calcsize(form) - 1)), 2 ** (8 * struct.calcsize(form) - 1) - 1)
    for kind, form in FORMATS.items()
    if form in "bhiq"
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def parsed(content: bytes, size: int | None = None) -> Parsed:
    return parse(lambda length: content[:length], len(content) if size is None else size, "model.gguf")


# --- what it says


def scalars(kind: int) -> st.SearchStrategy[object]:
    if kind == STRING:
        return st.text(max_size=20)
    if kind == BOOL:
        return st.booleans()
    if kind in (F32, F64):
        return st.floats(width=32 if kind == F32 else 64, allow_nan=False)
    return st.integers(*RANGES[kind])


values = st.sampled_from([*FORMATS, STRING]).flatmap(
    lambda kind: st.one_of(scalars(kind), st.lists(scalars(kind), max_size=70)).map(lambda value: Typed(kind, value))
)
shapes = st.tuples(st.integers(0, 3).map(lambda n: n * 256), st.integers(1, 3), st.integers(1, 2))
tables = st.lists(st.tuples(shapes, st.sampled_from(sorted(TYPES))), max_size=5)
metadata = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "general.alignment"), values, max_size=8
)


@given(metadata, tables, st.sampled_from([1, 16, 32, 64, 4096]), st.sampled_from([2, 3]))
def test_what_was_written_is_read(
    metadata: dict[str, Typed],
    table: list[tuple[tuple[int, ...], str]],
    alignment: int,
    version: int,
) -> None:
    tensors = [Tensor(f"blk.{index}.weight", shape, kind) for index, (shape, kind) in enumerate(table)]
    given_settings = metadata | {"general.alignment": Typed(U32, alignment)}
    content = gguf(given_settings, tensors, alignment=alignment, version=version)
    found = parsed(content)
    assert found.version == version
    assert list(found.metadata) == list(given_settings)
    for name, typed in given_settings.items():
        value = found.metadata[name]
        expected = tuple(typed.value) if isinstance(typed.value, list) else typed.value
        if isinstance(value, LongArray):
            assert isinstance(expected, tuple)
            assert value.length == len(expected)
            assert value.head == expected[: len(value.head)]
        else:
            assert value == expected
            assert type(value) is type(expected)
    assert [(t.name, t.shape, t.type, t.nbytes) for t in found.tensors] == [
        (t.name, t.shape, t.type, t.nbytes) for t in tensors
    ]
    assert all((found.data_offset + t.offset) % alignment == 0 for t in found.tensors)


def test_a_model_describes_itself(tmp_path: Path) -> None:
    tensors = [Tensor("a.weight", (256, 4), "Q4_K"), Tensor("b.weight", (32,))]
    header = read_header(write(tmp_path / "m.gguf", gguf(settings(), tensors)))
    assert (header.architecture, header.quant, header.n_ctx_train, header.block_count) == ("llama", "Q4_K_M", 2048, 2)
    assert (header.n_tensors, header.n_params, header.n_vocab) == (2, 256 * 4 + 32, 4)
    assert header.chat_template == "{{ messages[0].content }}"
    assert header.kind == "model"
    assert not header.is_embedding_only
    assert not header.has_fim


def test_the_quant_is_that_of_most_bytes_where_the_file_does_not_say(tmp_path: Path) -> None:
    plain = settings()
    del plain["general.file_type"]
    tensors = [Tensor("a.weight", (256, 40), "Q8_0"), Tensor("b.weight", (256,)), Tensor("c.weight", (256,), "Q4_K")]
    assert read_header(write(tmp_path / "m.gguf", gguf(plain, tensors))).quant == "Q8_0"


@pytest.mark.parametrize(
    ("architecture", "more", "expected"),
    [
        ("llama", {}, False),
        ("nomic-bert", {}, True),
        ("qwen3", {"qwen3.pooling_type": 3}, True),
        ("qwen3", {"qwen3.pooling_type": 0}, False),
        ("llama", {"llama.attention.causal": False}, True),
        ("llama", {"llama.attention.causal": True}, False),
    ],
)
def test_models_that_only_embed(tmp_path: Path, architecture: str, more: dict[str, object], expected: bool) -> None:
    content = gguf(settings(architecture) | more)
    assert read_header(write(tmp_path / "m.gguf", content)).is_embedding_only is expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"tokenizer.ggml.tokens": ["a", "<|fim_prefix|>", "b"]}, True),
        ({"tokenizer.ggml.tokens": [*"ab" * 100, "<｜fim▁begin｜>"]}, True),
        ({"tokenizer.ggml.tokens": ["a", "not <|fim_prefix|> alone"]}, False),
        ({"tokenizer.ggml.fim_pre_token_id": 3}, True),
    ],
)
def test_tokens_for_filling_in_the_middle(tmp_path: Path, more: dict[str, object], expected: bool) -> None:
    assert read_header(write(tmp_path / "m.gguf", gguf(settings() | more))).has_fim is expected


def test_a_vocabulary_is_counted_not_kept(tmp_path: Path) -> None:
    tokens = [f"token {index}" for index in range(150_000)]
    content = gguf(settings() | {"tokenizer.ggml.tokens": tokens, "scores": Typed(F32, [0.5] * (SHORT_ARRAY + 1))})
    header = read_header(write(tmp_path / "m.gguf", content))
    assert header.n_vocab == 150_000
    kept = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(kept, LongArray)
    assert kept.head[:2] == ("token 0", "token 1")
    assert isinstance(header.metadata["scores"], LongArray)


def test_tensor_data_are_not_read() -> None:
    content = gguf(settings(), [Tensor("a.weight", (256, 40_000))])
    asked: list[int] = []

    def fetch(length: int) -> bytes:
        asked.append(length)
        return content[:length]

    parse(fetch, len(content), "model.gguf")
    assert sum(asked) <= 1024 * 1024 < len(content)


def test_the_tables_are_those_of_the_library() -> None:
    library = pytest.importorskip("llama_cpp")
    found = sorted((Path(library.__file__).parent / "lib").glob("libggml-base.*"))
    if not found:
        pytest.skip("this build has no library of its own for ggml's types")
    ggml = ctypes.CDLL(str(found[0]))
    ggml.ggml_type_size.restype, ggml.ggml_blck_size.restype = ctypes.c_size_t, ctypes.c_int64
    ggml.ggml_type_name.restype = ctypes.c_char_p
    for number, kind in TENSOR_TYPES.items():
        assert ggml.ggml_type_name(number).decode().upper() == kind.name
        assert (ggml.ggml_blck_size(number), ggml.ggml_type_size(number)) == (kind.block, kind.size)
    named = {
        value: re.sub("LLAMA_FTYPE_(MOSTLY|ALL)_", "", name).removesuffix("_MOE")
        for name, value in vars(library).items()
        if name.startswith(("LLAMA_FTYPE_MOSTLY", "LLAMA_FTYPE_ALL"))
    }
    assert named
    assert {number: FILE_TYPES[number] for number in named} == named


# --- quick check


def test_a_quick_check_passes_models_and_their_lies(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf")
    quick_check(path)
    write(path, path.read_bytes()[:-16])
    quick_check(path)
    with pytest.raises(NotAModel):
        read_header(path)


# --- split models


def test_a_split_model_is_one(tmp_path: Path) -> None:
    paths = write_split(tmp_path, "big", 3)
    header = read_header(paths[0])
    assert (header.n_shards, header.n_tensors, header.architecture) == (3, 3, "llama")
    assert [tensor.shard for tensor in header.tensors] == [0, 1, 2]
    assert header.file_size == sum(path.stat().st_size for path in paths)
    quick_check(paths[0])


def test_missing_parts_are_named(tmp_path: Path) -> None:
    paths = write_split(tmp_path, "big", 3)
    paths[1].unlink()
    for check in (read_header, quick_check):
        with pytest.raises(NotAModel, match=r"1 is missing: big-00002-of-00003\.gguf"):
            check(paths[0])


def test_a_later_part_points_to_the_first(tmp_path: Path) -> None:
    paths = write_split(tmp_path, "big", 2)
    for check in (read_header, quick_check):
        with pytest.raises(NotAModel, match=r"part 2 of 2.*first part, big-00001-of-00002\.gguf"):
            check(paths[1])


def test_parts_must_belong_together(tmp_path: Path) -> None:
    paths = write_split(tmp_path, "big", 3)
    middle = paths[1].read_bytes()
    paths[1].write_bytes(paths[2].read_bytes())
    with pytest.raises(NotAModel, match="another split model"):
        read_header(paths[0])
    paths[1].write_bytes(middle[:-1])
    with pytest.raises(NotAModel, match=r"big-00002-of-00003\.gguf is truncated"):
        read_header(paths[0])
    paths[1].write_bytes(middle)
    renamed = paths[0].rename(tmp_path / "renamed.gguf")
    with pytest.raises(NotAModel, match="not named so"):
        read_header(renamed)


# --- real files


@pytest.mark.model
def test_the_starter(smollm2: Path) -> None:
    header = read_header(smollm2)
    assert (header.architecture, header.quant, header.n_ctx_train) == ("llama", "Q4_1", 8192)
    assert (header.n_params, header.n_vocab, header.block_count) == (134_515_008, 49_152, 30)
    assert header.chat_template
    assert header.file_size == smollm2.stat().st_size
    quick_check(smollm2)


@pytest.mark.model
def test_a_truncated_download_of_the_starter(smollm2: Path, tmp_path: Path) -> None:
    with smollm2.open("rb") as file:
        path = write(tmp_path / "starter.gguf", file.read(4 * 1024 * 1024))
    with pytest.raises(NotAModel, match="truncated") as caught:
        read_header(path)
    last = read_header(smollm2).tensors[-1]
    end = read_header(smollm2).data_offset + last.offset + last.nbytes
    assert caught.value.details["missing"] == end - 4 * 1024 * 1024


@pytest.mark.model
def test_a_code_model(qwen: Path) -> None:
    header = read_header(qwen)
    assert (header.architecture, header.quant, header.n_vocab) == ("qwen2", "Q4_K_M", 151_936)
    assert header.has_fim


@pytest.mark.model
def test_a_base_model_without_template(gemma: Path) -> None:
    header = read_header(gemma)
    assert (header.architecture, header.n_vocab, header.chat_template) == ("gemma3", 262_144, "")
    assert not header.is_embedding_only
