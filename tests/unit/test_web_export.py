"""A conversation as a page: everything shown, nothing obeyed, nothing fetched."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from fireside.account import Account
from fireside.conversations.documents import document, kind_of
from fireside.conversations.tree import Conversation
from fireside.prompt import Material

HOSTILE = (
    "<script>alert(1)</script> ![x](http://evil/p.png) [a](javascript:alert(1)) <img src=x onerror=alert(1)>\n\n"
    '```"><script>\nx\n```\n\n```python\nprint("<b>")\n```\n\x1b[31m'
)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.data += data


def chat(text: str, question: str = "Why?") -> Conversation:
    made = Conversation(id="one", system=text)
    made.ask(question, [Material(f"a{question}.txt", text)])
    made.answer(text, reasoning=text, model="tiny", account=Account(model="tiny", generated=3))
    return made


def check(page: Page) -> None:
    allowed = {"html", "head", "meta", "title", "style", "body", "article", "h1", "h2", "h3", "h4", "h5", "h6", "p",
               "div", "pre", "code", "span", "details", "summary", "a", "ul", "ol", "li", "em", "strong", "table",
               "thead", "tbody", "tr", "th", "td", "blockquote", "hr", "br", "s"}  # fmt: skip
    for tag, attributes in page.tags:
        assert tag in allowed
        assert not any(name.startswith("on") or name == "src" for name in attributes)
        assert not (attributes.get("href") or "").lower().startswith(("javascript", "data", "vbscript"))


def test_what_a_model_wrote_is_text() -> None:
    text = document([chat(HOSTILE, HOSTILE)], "html")
    page = Page(text)
    check(page)
    assert "<script>alert(1)</script>" in page.data
    assert "http://evil/p.png" not in [attributes.get("src") for _, attributes in page.tags]
    assert "\x1b" not in text
    assert ("details", {}) in page.tags
    assert "default-src 'none'" in str(page.tags)


@given(st.text(max_size=200), st.text(max_size=60))
def test_any_text_is_harmless(text: str, question: str) -> None:
    check(Page(document([chat(text, question)], "html")))


def test_several_conversations_are_one_page() -> None:
    page = Page(document([chat("one"), chat("two")], "html"))
    assert [tag for tag, _ in page.tags].count("article") == 2


def test_kinds_by_the_ending_of_a_name() -> None:
    assert [kind_of(name) for name in ("a.html", "b.HTM", "c.json", "d.md", "e", "")] == [
        "html", "html", "json", "md", "md", "md"
    ]  # fmt: skip
