"""Conversations as one HTML page that needs nothing else: no script, no font, no picture, and no network.

What a model or a file wrote is text: raw HTML is shown, not obeyed; pictures are links; the page's own policy forbids
everything but its style.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

from markdown_it import MarkdownIt
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

from fireside.conversations.export import moment
from fireside.conversations.tree import Conversation, Turn
from fireside.sanitize import clean, clean_line
from fireside.wording import why

_LIGHT, _DARK = HtmlFormatter(style="friendly"), HtmlFormatter(style="native")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #2c2520; --paper: #faf7f2; --faint: #84766a; --ember: #b4551c; --rule: #e0d6c9;
  --code: #f3eee6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ded5; --paper: #151210; --faint: #8b7d71; --ember: #e58e4f;
  --rule: #362d27; --code: #1d1917; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; max-width: 46rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; } h1, h2.who { line-height: 1.25; }
h2.who { font-size: 1rem; color: var(--ember); margin: 2rem 0 .25rem; }
.question { border-left: 3px solid var(--ember); padding-left: .9rem; }
.verbatim { white-space: pre-wrap; }
.facts { color: var(--faint); font-size: .85rem; }
pre { background: var(--code); padding: .8rem; overflow-x: auto; border-radius: 4px; }
code { font: .88em/1.45 ui-monospace, monospace; } :not(pre) > code { background: var(--code); padding: .1em .3em; }
details { color: var(--faint); margin: .5rem 0; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--rule); padding: .25rem .6rem; }
blockquote { border-left: 3px solid var(--rule); margin-left: 0; padding-left: 1rem; }
hr { border: none; border-top: 1px solid var(--rule); margin: 3rem 0; }
"""


def to_html(conversations: Sequence[Conversation]) -> str:
    """A page with these conversations, each with the branch that is shown."""
    title = conversations[0].title if len(conversations) == 1 else "Conversations"
    body = "<hr>\n".join(map(_article, conversations))
    code = "\n".join(
        [_LIGHT.get_style_defs("pre"), "@media (prefers-color-scheme: dark) {", _DARK.get_style_defs("pre"), "}"]
    )
    return (
        '<!doctype html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(clean_line(title) or 'Conversation')}</title>\n"
        f"<style>{code}\n{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _article(conversation: Conversation) -> str:
    facts = f"{moment(conversation.created)} · {html.escape(clean_line(conversation.id))}"
    parts = [f"<h1>{html.escape(clean_line(conversation.title) or 'Conversation')}</h1>"]
    parts.append(f'<p class="facts">{facts}</p>')
    if conversation.system:
        parts.append(f'<h2 class="who">System</h2>\n<div class="verbatim">{_verbatim(conversation.system)}</div>')
    parts += [_section(turn) for turn in conversation.path()]
    return "<article>\n" + "\n".join(parts) + "\n</article>\n"


def _section(turn: Turn) -> str:
    is_question = turn.role == "user"
    who = "You" if is_question else html.escape(clean_line(turn.model) or "Model")
    parts = [f'<h2 class="who">{who}</h2>']
    for material in turn.materials:
        name = html.escape(clean_line(material.name) or "piped text")
        parts.append(f"<details><summary>{name}</summary><pre><code>{_verbatim(material.text)}</code></pre></details>")
    if turn.reasoning:
        thinking = f'<div class="verbatim">{_verbatim(turn.reasoning.strip())}</div>'
        parts.append(f"<details><summary>Thinking</summary>{thinking}</details>")
    if turn.text and is_question:
        parts.append(f'<div class="question verbatim">{_verbatim(turn.text)}</div>')
    elif turn.text:
        parts.append(_parser().render(clean(turn.text)))
    if turn.account is not None:
        parts.append(f'<p class="facts">{html.escape(clean_line(" · ".join(why(turn.account))))}</p>')
    elif not is_question:
        parts.append('<p class="facts">broke off</p>')
    return "\n".join(parts)


def _verbatim(text: str) -> str:
    return html.escape(clean(text))


def _parser() -> MarkdownIt:
    """Of answers. Links lead where Markdown may lead: never to scripts or data."""
    parser = MarkdownIt("commonmark", {"html": False, "highlight": _coloured}).enable(["table", "strikethrough"])
    return parser.disable("image")


def _coloured(code: str, language: str, _attributes: str) -> str:
    """A code block in colours; empty leaves it plain, as the parser escapes it."""
    if not language:
        return ""
    try:
        lexer = get_lexer_by_name(language, stripnl=False)
    except ClassNotFound:
        return ""
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))
