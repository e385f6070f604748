"""The layout of a prompt keeps every text whole and the instruction last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fireside.prompt import Material, fence, lay_out

texts = st.text("ab`\n ~", max_size=40)


@given(texts)
def test_nothing_inside_a_fence_can_close_it(text: str) -> None:
    first, *body, last = fence(text).split("\n")
    assert first == last
    assert set(first) == {"`"}
    assert all(first not in line for line in body)
    assert "\n".join(body) == text.removesuffix("\n")


def test_material_comes_first_and_the_instruction_last() -> None:
    materials = [Material("", "a diff\n"), Material("notes.md", "# Notes")]
    assert lay_out(materials, "Review this.") == ("```\na diff\n```\n\nnotes.md:\n```\n# Notes\n```\n\nReview this.")


def test_one_text_alone_is_the_message_itself() -> None:
    assert lay_out([Material("", "Hello\n")], "") == "Hello\n"
    assert lay_out([], "Hello") == "Hello"


def test_a_file_name_cannot_break_out_of_its_line() -> None:
    assert lay_out([Material("a\n```\nb", "x")], "y").startswith("a ``` b:\n")
