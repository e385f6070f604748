"""What `fireside pull` is asked for, and which file of a repository that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.errors import InvalidRequest, ModelNotFound, NotAModel
from fireside_engine.models.acquire_store import Staging
from fireside_engine.models.acquire_target import HubTarget, NameTarget, PathTarget, choose, parse_target
from fireside_engine.models.catalogue_schema import HubSource, Model
from fireside_engine.models.hub_file import Digest, HubFile, Listing, group, quant_in


def target(text: str) -> object:
    return parse_target(text, lambda _path: False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qwen3-8b", NameTarget("qwen3-8b")),
        (" qwen3:8b ", NameTarget("qwen3:8b")),
        ("qwen3-8b:Q8_0", NameTarget("qwen3-8b:Q8_0")),
        ("hf:Qwen/Qwen3-8B-GGUF", HubTarget("Qwen/Qwen3-8B-GGUF")),
        ("hf:Qwen/Qwen3-8B-GGUF:q5_k_m", HubTarget("Qwen/Qwen3-8B-GGUF", quant="q5_k_m")),
        ("hf:a/b:c-Q4_0.gguf", HubTarget("a/b", file="c-Q4_0.gguf")),
        ("hf:a/b:sub/c.gguf", HubTarget("a/b", file="sub/c.gguf")),
        ("hf:a/b@v1.2:Q8_0", HubTarget("a/b", "v1.2", quant="Q8_0")),
        ("hf:a/b@refs/pr/3", HubTarget("a/b", "refs/pr/3")),
        ("hf://a/b/c.gguf", HubTarget("a/b", file="c.gguf")),
        ("HF:a/b", HubTarget("a/b")),
        ("hf.co/a/b:Q4_K_M", HubTarget("a/b", quant="Q4_K_M")),
        ("https://huggingface.co/a/b", HubTarget("a/b")),
        ("https://huggingface.co/a/b/", HubTarget("a/b")),
        ("https://huggingface.co/a/b/blob/main/c.gguf", HubTarget("a/b", "main", "c.gguf")),
        ("https://huggingface.co/a/b/resolve/main/d/c.gguf?download=true", HubTarget("a/b", "main", "d/c.gguf")),
        ("a/b", HubTarget("a/b")),
        ("a/b:Q8_0", HubTarget("a/b", quant="Q8_0")),
        ("/x/y.gguf", PathTarget(Path("/x/y.gguf"))),
        ("./a/b", PathTarget(Path.cwd() / "a/b")),
        ("~/b", PathTarget(Path("~/b").expanduser())),
        ("y.gguf", PathTarget(Path.cwd() / "y.gguf")),
    ],
)
def test_what_words_mean(text: str, expected: object) -> None:
    assert target(text) == expected


def test_a_file_that_is_there_wins_over_a_repository() -> None:
    assert parse_target("a/b", lambda _path: True) == PathTarget(Path.cwd() / "a/b")


@pytest.mark.parametrize(
    "text", ["", "  ", "hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/b:c:d", "https://huggingface.co/"]
)
def test_nonsense_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        target(text)
    assert caught.value.hint


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        found = target(text)
    except InvalidRequest:
        return
    if isinstance(found, HubTarget):
        owner, _, name = found.repo.partition("/")
        assert owner not in ("", ".", "..")
        assert name not in ("", ".", "..")


@pytest.mark.parametrize(
    ("stem", "quant"),
    [
        ("Qwen3-8B-Q4_K_M", "Q4_K_M"),
        ("qwen2.5-coder-7b-instruct-q4_k_m", "Q4_K_M"),
        ("nomic-embed-text-v1.5.Q8_0", "Q8_0"),
        ("Qwen3-30B-A3B-UD-Q4_K_XL", "UD-Q4_K_XL"),
        ("gpt-oss-20b-mxfp4", "MXFP4"),
        ("gemma-3-4b-it-qat-q4_0", "Q4_0"),
        ("model-IQ4_XS", "IQ4_XS"),
        ("model-BF16", "BF16"),
        ("model", ""),
        ("model-iq2_xxs-imat", "IQ2_XXS"),
        ("SmolLM2-135M-Instruct.Q4_1", "Q4_1"),
        ("model-f16", "F16"),
    ],
)
def test_quantizations_are_read_from_names(stem: str, quant: str) -> None:
    assert quant_in(stem) == quant


def file(path: str, size: int = 100) -> HubFile:
    return HubFile(path, size, Digest("sha256", "0" * 64))


def listing(*paths: str) -> Listing:
    return Listing("a/b", "c" * 40, group([file(path) for path in paths]))


LAMP = listing("Lamp-Q4_K_M.gguf", "Lamp-Q8_0.gguf", "Lamp-UD-Q2_K_XL.gguf", "mmproj-Lamp-F16.gguf", "README.md")
KNOWN = Model(source=HubSource(kind="hub", repo="a/b", file="Lamp-{quant}.gguf", quant="Q8_0"))


def test_companions_and_incomplete_sets_are_no_models() -> None:
    found = group(
        [
            file("x-Q8_0-00002-of-00002.gguf"),
            file("x-Q8_0-00001-of-00002.gguf"),
            file("y-00001-of-00003.gguf"),
            file("mmproj-x.gguf"),
            file("x.imatrix.gguf"),
            file("notes.txt"),
        ]
    )
    assert [[part.name for part in model.files] for model in found] == [
        ["x-Q8_0-00001-of-00002.gguf", "x-Q8_0-00002-of-00002.gguf"]
    ]
    assert (found[0].quant, found[0].stem, found[0].size) == ("Q8_0", "x-Q8_0", 200)


def test_the_usual_quantization() -> None:
    assert choose(LAMP).quant == "Q4_K_M"
    assert choose(LAMP, known=KNOWN).quant == "Q8_0"
    assert choose(LAMP, known=KNOWN, quant="q4_k_m").quant == "Q4_K_M"
    assert choose(LAMP, quant="Q2_K_XL").quant == "UD-Q2_K_XL"
    assert choose(listing("only.gguf")).stem == "only"
    assert choose(LAMP, file="lamp-q8_0.gguf").quant == "Q8_0"


@pytest.mark.parametrize(
    ("what", "options", "words"),
    [
        (listing("README.md"), {}, "no complete GGUF model. Look for a repository whose name ends in -GGUF"),
        (listing("other.gguf"), {"known": KNOWN}, "of the name that models.toml expects"),
        (LAMP, {"quant": "Q6_K"}, "has no Q6_K. It has Q4_K_M, Q8_0, UD-Q2_K_XL."),
        (LAMP, {"file": "x.gguf"}, "no model file x.gguf"),
        (listing("a-Q4_K_M.gguf", "b-Q4_K_M.gguf"), {}, "more than one model"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(what: Listing, options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        choose(what, **options)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [".hidden.gguf", "a\\b.gguf", "a\nb.gguf", "x" * 300 + ".gguf", "a\x1b[0m.gguf"])
def test_names_of_strangers_become_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotAModel):
        Staging(tmp_path, group([file(name)])[0], "a/b", "c")


@given(st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_a_model_never_leaves_the_models_folder(parts: list[str]) -> None:
    root = Path("/models")
    models = group([file("/".join([*parts, "x.gguf"]))])
    try:
        final = Staging(root, models[0], "a/b", "c").final
    except NotAModel:
        return
    assert final.is_relative_to(root / "a" / "b")
    assert ".." not in final.parts
    assert len(final.relative_to(root).parts) <= 4
