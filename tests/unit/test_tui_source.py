"""The reading of a growing Markdown source."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fireside.tui.source import GrowingSource, code_blocks, parser

LINES = st.sampled_from(
    [
        "Some prose.",
        "```python",
        "```",
        "````",
        "~~~",
        "~~~ js",
        "- item",
        "- ```sh",
        "   ```",
        "> ```",
        "`inline` code",
        "``double`` code",
        "```not a fence` at all",
        "1. one",
        "1) ~~~",
        "",
        "    indented",
        "x = `a`",
        "  ",
        "~",
        "``",
    ]
)
DOCUMENTS = st.tuples(st.lists(LINES, max_size=12), st.sampled_from(["", "\n"])).map(lambda t: "\n".join(t[0]) + t[1])


def cut(text: str, sizes: list[int]) -> list[str]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    return [*pieces, text[at:]]


@given(DOCUMENTS, st.lists(st.integers(0, 9), max_size=30))
def test_cuts_do_not_matter_and_nothing_is_ever_taken_back(document: str, sizes: list[int]) -> None:
    whole = GrowingSource()
    whole.feed(document)
    pieces = GrowingSource()
    before = 0
    for piece in cut(document, sizes):
        pieces.feed(piece)
        assert before <= pieces.settled <= pieces.shown <= len(pieces.text)
        before = pieces.settled
    assert pieces.text == document
    assert (pieces.settled, pieces.shown, pieces.fence) == (whole.settled, whole.shown, whole.fence)


@given(DOCUMENTS)
def test_without_an_open_fence_only_the_start_of_a_possible_fence_is_held_back(document: str) -> None:
    source = GrowingSource()
    source.feed(document)
    if source.fence is None:
        held = document[source.settled :]
        assert "\n" not in held
        assert not held or held[0] in "`~"


def test_an_open_fence_shows_its_code_and_settles_when_it_closes() -> None:
    source = GrowingSource()
    source.feed("Look:\n```python\nx = 1\ny")
    assert source.fence is not None
    assert source.fence.language == "python"
    assert source.text[: source.settled] == "Look:\n"
    assert source.code == "x = 1\ny"
    source.feed(" = 2\n``")
    assert source.code == "x = 1\ny = 2\n"
    source.feed("`")
    assert source.code == "x = 1\ny = 2\n"
    source.feed("\nDone")
    assert source.fence is None
    assert source.settled == len(source.text)


def test_a_shorter_or_other_mark_does_not_close() -> None:
    source = GrowingSource()
    source.feed("````md\n```\n~~~~\ninner\n")
    assert source.fence is not None
    source.feed("````\n")
    assert source.fence is None


def test_code_blocks_in_order_also_inside_lists() -> None:
    source = "```py title\na\n```\n\n1. x\n   ```\n   b\n   ```\n\n    indented\n"
    assert [tuple(block) for block in code_blocks(source)][:2] == [("py", "a\n"), ("", "b\n")]


def test_an_unclosed_fence_is_a_block_too() -> None:
    assert code_blocks("```js\nlet a") == [("js", "let a")]


def test_tags_stay_text_and_line_breaks_stay() -> None:
    tokens = parser().parse("a <b>\nc")
    children = next(token for token in tokens if token.type == "inline").children
    assert children is not None
    assert [child.type for child in children] == ["text", "hardbreak", "text"]
    assert children[0].content == "a <b>"
