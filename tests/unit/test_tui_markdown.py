"""Markdown as blocks, and blocks as rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fireside.tui import flow
from fireside.tui.markdown import Block, blocks

LINES = st.sampled_from(
    [
        "Some *prose* with `code` and **more words** than fit a narrow line, https://example.org/a too.",
        "# Heading",
        "- item",
        "  - nested item with a few more words",
        "    1. deeper",
        "1. one",
        "> quoted",
        "> > twice",
        "```python",
        "```",
        "x = [1, 2]",
        "",
        "---",
        "| a | b | c |",
        "|---|:-:|--:|",
        "| 1 | `two` and more | 3 |",
        "[label]: https://example.org",
        "a [label] and a [link](https://example.org/x)",
        "==",
        "日本語のテキスト、とても長い一行です",
        "<b>bold</b> & [red]",
        "\ttabbed",
    ]
)
DOCUMENTS = st.lists(LINES, max_size=14).map("\n".join)


def text_of(document: str, width: int = 60) -> str:
    return "\n".join(row.plain for block in blocks(document) if block.node for row in flow.rows(block.node, width))


@given(DOCUMENTS)
def test_the_sources_of_the_blocks_are_the_document(document: str) -> None:
    assert "".join(block.source for block in blocks(document)) == document


@given(DOCUMENTS)
def test_the_last_block_parsed_alone_is_the_last_block(document: str) -> None:
    """What streaming relies on: a document can grow only at its last block."""
    found = blocks(document)
    if found and not found[-1].depends:
        assert blocks(found[-1].source)[-1:] == found[-1:]


@given(DOCUMENTS, st.integers(10, 90))
def test_no_row_is_wider_than_the_width(document: str, width: int) -> None:
    for block in blocks(document):
        if block.node is not None:
            assert all(row.cell_length <= width for row in flow.rows(block.node, width))


@given(DOCUMENTS)
def test_no_word_is_lost(document: str) -> None:
    shown = text_of(document, 200)
    for word in ("prose", "nested", "quoted", "Heading", "<b>bold</b>", "[red]", "日本語"):
        if word in document:
            assert word in shown


def test_tags_and_console_markup_are_text() -> None:
    assert text_of("a <div> [bold]b[/bold] <br/>") == "a <div> [bold]b[/bold] <br/>"


def test_lists_hang_and_number() -> None:
    document = "9. nine is a long item that wraps\n10. ten\n    - inner\n"
    assert text_of(document, 22).split("\n") == [
        " 9. nine is a long",
        "    item that wraps",
        "10. ten",
        "    ◦ inner",
    ]


def test_a_link_shows_where_it_leads() -> None:
    assert text_of("[here](https://example.org/x)") == "here (https://example.org/x)"
    assert text_of("https://example.org/x") == "https://example.org/x"
    assert text_of("![a cat](cat.png)") == "[a cat] (cat.png)"


def test_a_table_fits_and_wraps() -> None:
    document = "| way | cost |\n|---|--:|\n| copy | none |\n| clone | one allocation each time |\n"
    assert text_of(document, 40).split("\n")[0].startswith("way")
    narrow = text_of(document, 20).split("\n")
    assert max(len(line) for line in narrow) <= 20
    assert "allocation" in " ".join(narrow)


def test_a_table_too_wide_becomes_records() -> None:
    head = "|" + "|".join(f" h{at} " for at in range(8)) + "|\n" + "|---" * 8 + "|\n"
    shown = text_of(head + "|" + "|".join(f" v{at} " for at in range(8)) + "|\n", 30)
    assert "h7: v7" in shown


@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(8, 80))
def test_columns_give_way_evenly(wanted: list[int], room: int) -> None:
    sizes = flow.fit(wanted, room)
    assert all(size >= 1 for size in sizes)
    assert sum(sizes) <= max(room, len(wanted))
    if sum(max(1, size) for size in wanted) <= room:
        assert sizes == [max(1, size) for size in wanted]
    for size, want in zip(sizes, wanted, strict=True):
        assert size <= max(1, want)


@pytest.mark.parametrize(("info", "language"), [("python", "python"), ("js title=x", "js"), ("", "")])
def test_the_language_of_a_fence(info: str, language: str) -> None:
    (block,) = blocks(f"```{info}\ncode\n```\n")
    assert (block.language, block.code, block.is_code) == (language, "code", True)


def test_blank_text_is_a_block_of_nothing() -> None:
    assert blocks("\n \n") == [Block("\n \n")]
    assert blocks("") == []
