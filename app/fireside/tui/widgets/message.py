"""The messages of a transcript: what the user wrote, verbatim, and an answer with all that belongs to it."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from fireside.account import Account
from fireside.app_settings import AppSettings
from fireside.failure import Failure
from fireside.progress import Prefill
from fireside.prompt import Material
from fireside.thinking import Piece
from fireside.tui.attachments import about_tokens
from fireside.tui.reply import Loading
from fireside.tui.screen_text import ScreenText, on_one_line, on_screen
from fireside.tui.widgets.stream_markdown import StreamMarkdown
from fireside.tui.widgets.thought import Thought
from fireside.tui.widgets.waiting import WaitingLine
from fireside.wording import pack, plural, short_count, why

Branch = tuple[int, int] | None
"""Which of how many versions of a message it is; None where there is one."""
TINT = "on $primary 25%"
EMPTY = "The model ended without a word."


class UserMessage(Static):
    """What the user wrote, as it was written."""

    DEFAULT_CSS = """
    UserMessage {
        height: auto;
        margin: 0 0 1 0;
        padding: 0 1;
        border-left: outer $primary;
        background: $surface;
        &.-at { background: $panel; border-left: outer $accent; }
    }
    """

    def __init__(self, text: str, materials: Sequence[Material] = (), branch: Branch = None) -> None:
        parts = [Content(on_screen(text).expandtabs(4))] if text else []
        parts += [Content.styled(f"@ {_of_material(material)}", "$faint") for material in materials]
        if branch is not None:
            parts.append(Content.styled(label(branch), "$accent"))
        super().__init__(Content("\n").join(parts), markup=False)
        self.text = text


def _of_material(material: Material) -> str:
    """A file that belongs to a message, in a line."""
    lines = plural(material.text.count("\n") + (not material.text.endswith("\n")), "line")
    about = short_count(about_tokens(material.text))
    return f"{on_one_line(material.name) or 'piped text'} · {lines} · ≈{about} tok"


def label(branch: tuple[int, int]) -> str:
    """Which of how many versions of a message this is."""
    return f"‹ {branch[0]}/{branch[1]} ›"


class Notice(Static):
    """A calm block for what went wrong, or what to know. Stands in the transcript and is no part of the chat."""

    DEFAULT_CSS = """
    Notice {
        height: auto;
        margin: 0 0 1 0;
        padding: 0 1;
        border-left: outer $border;
        color: $foreground;
        &.-error { border-left: outer $error; }
    }
    """

    def __init__(self, message: str, hint: str = "", *, is_error: bool = False) -> None:
        said = Content(on_screen(message))
        if hint:
            said = Content.assemble(said, "\n", (on_screen(hint), "$faint"))
        super().__init__(said, markup=False, classes="-error" if is_error else "")
        self.message = message

    def repeats(self, other: object) -> bool:
        """Whether it says what another one said."""
        return isinstance(other, Notice) and other.message == self.message

    @classmethod
    def of(cls, failure: Failure, remark: str = "") -> Notice:
        """What an error says, and what became of the message that met it."""
        return cls(failure.message, "\n".join(filter(None, [failure.hint, remark])), is_error=True)


class WhyLine(Static):
    """What an answer cost, broken between its parts only."""

    DEFAULT_CSS = """
    WhyLine { height: auto; color: $faint; margin: 0 0 1 0; }
    """

    def __init__(self, account: Account, branch: Branch = None, read_rate: float | None = None) -> None:
        super().__init__(markup=False)
        self._parts = [*([label(branch)] if branch else []), *why(account, read_rate)]

    def on_resize(self, event: Resize) -> None:
        self.update(Content("\n".join(pack(self._parts, event.size.width))))


def tinted(text: str, runs: Sequence[tuple[int, int]]) -> Content:
    """The text with a colour behind what was drafted and accepted."""
    content = Content(text)
    for first, size in runs:
        content = content.stylize(TINT, first, first + size)
    return content


def _wants_tint(widget: Vertical) -> bool:
    return bool(getattr(getattr(widget.screen, "state", None), "app_settings", AppSettings()).tint)


class AnswerMessage(Vertical):
    """An answer: a waiting line, then thinking and text as they come, then why it took as long as it did."""

    DEFAULT_CSS = """
    AnswerMessage {
        height: auto;
        padding: 0 1 0 2;
        &.-at { border-left: outer $accent; padding: 0 1 0 1; }
        & > .partial { color: $faint; }
        & > .tinted { height: auto; margin: 0 0 1 0; }
    }
    """

    def __init__(self, waiting_for: str = "") -> None:
        super().__init__()
        self._waiting: WaitingLine | None = WaitingLine(waiting_for)
        self._thought: Thought | None = None
        self._stream: StreamMarkdown | None = None
        self._text_filter = ScreenText()
        self._thought_filter = ScreenText()
        self._tinted: Static | None = None
        self._account = Account()
        self._following = True
        self._complete: tuple[list[Piece], Account, Failure | None, str, Branch, float | None] | None = None

    @classmethod
    def of(
        cls,
        pieces: list[Piece],
        account: Account,
        failure: Failure | None = None,
        remark: str = "",
        branch: Branch = None,
        read_rate: float | None = None,
    ) -> AnswerMessage:
        """An answer that is complete."""
        message = cls()
        message._waiting = None
        message._complete = (pieces, account, failure, remark, branch, read_rate)
        return message

    def compose(self) -> ComposeResult:
        if self._waiting is not None:
            yield self._waiting

    async def on_mount(self) -> None:
        if self._complete is not None:
            pieces, account, failure, remark, branch, read_rate = self._complete
            await self.add(pieces)
            await self.finish(account, failure, remark, branch=branch, read_rate=read_rate)

    @property
    def source(self) -> str:
        """The answer's Markdown, as it may be shown."""
        return self._stream.source if self._stream else ""

    @property
    def thought(self) -> Thought | None:
        return self._thought

    def follow(self, following: bool) -> None:
        """Whether somebody looks at the end of the answer."""
        self._following = following
        if self._stream is not None:
            self._stream.following = following

    def wait(self, words: str) -> None:
        if self._waiting is not None:
            self._waiting.say(words)

    def show_stage(self, stage: Loading | Prefill) -> None:
        if self._waiting is not None:
            self._waiting.show_stage(stage)

    async def add(self, pieces: list[Piece]) -> None:
        """Show new text; at once or a moment later."""
        for kind, text in pieces:
            if kind == "thinking":
                if self._thought is None:
                    self._thought = Thought()
                    await self._mount_before_text(self._thought)
                self._thought.write(self._thought_filter.feed(text))
            else:
                if self._thought is not None:
                    self._thought.finish()
                if self._stream is None:
                    self._stream = StreamMarkdown()
                    self._stream.following = self._following
                    await self._mount_before_text(self._stream)
                self._stream.write(self._text_filter.feed(text))

    async def finish(
        self,
        account: Account,
        failure: Failure | None = None,
        remark: str = "",
        *,
        branch: Branch = None,
        read_rate: float | None = None,
    ) -> None:
        """Nothing more comes: render the whole, and say what it cost, or what went wrong."""
        await self._remove_waiting()
        self._account = account
        if self._thought is not None:
            self._thought.finish()
        if self._stream is not None:
            await self._stream.finish()
            self.tint(on=_wants_tint(self))
        elif account.ending in ("stop", "length"):
            await self.mount(Static(EMPTY, classes="partial", markup=False))
        if failure is not None:
            await self.mount(Notice.of(failure, remark))
        else:
            await self.mount(WhyLine(account, branch, read_rate))

    def tint(self, *, on: bool) -> None:
        """Show the text as it was written, with what was drafted and accepted tinted; or as usual. Nothing changes for
        an answer of which nothing was accepted, or that cannot be shown character by character."""
        stream = self._stream
        if stream is None or not (self._account.draft_runs or self._tinted):
            return
        if on and self._tinted is None:
            self._tinted = Static(tinted(stream.source, self._account.draft_runs), markup=False, classes="tinted")
            self.mount(self._tinted, before=stream)
        if self._tinted is not None:
            self._tinted.display = on
        stream.display = not on

    async def _mount_before_text(self, widget: Thought | StreamMarkdown) -> None:
        await self._remove_waiting()
        await self.mount(widget)

    async def _remove_waiting(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            await waiting.remove()
