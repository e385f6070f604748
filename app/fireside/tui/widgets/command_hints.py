"""The slash commands or files that what is typed may become, above the prompt."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from fireside.tui import attachments
from fireside.tui.commands import Command, is_command, matching
from fireside.tui.screen_text import on_one_line


class CommandHints(Static):
    """Shown while a command or a file is being typed."""

    DEFAULT_CSS = """
    CommandHints {
        height: auto;
        padding: 0 2;
        background: $surface;
        display: none;
    }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._commands: list[Command] = []
        self._files: list[str] = []
        self._text = ""

    @property
    def has_some(self) -> bool:
        return bool(self._commands or self._files)

    def look_at(self, text: str, most: int) -> None:
        """Show what `text` may become, in so many lines."""
        self._text = text
        is_name = (text == "/" or is_command(text)) and " " not in text
        self._commands = matching(text[1:]) if is_name else []
        typed = attachments.begun(text)
        self._files = attachments.completions(typed) if typed is not None else []
        if self._files == [typed]:
            self._files = []
        self.display = self.has_some
        width = max((len(command.usage) for command in self._commands), default=0)
        rows = [
            Content.assemble((command.usage.ljust(width), "$accent"), "  ", (command.description, "$faint"))
            for command in self._commands
        ] or [Content.assemble(("@ ", "$faint"), (on_one_line(name), "$accent")) for name in self._files]
        listed = rows if len(rows) <= most else rows[: max(1, most - 1)]
        lines = [row.truncate(max(10, self.app.size.width - 4), ellipsis=True) for row in listed]
        if len(listed) < len(rows):
            lines.append(Content.styled(f"… {len(rows) - len(listed)} more", "$faint"))
        self.update(Content("\n").join(lines))

    @property
    def completion(self) -> str:
        """What tab makes of the whole text; empty if nothing matches."""
        if self._files:
            return attachments.completed(self._text, self._files)
        if not self._commands:
            return ""
        command = self._commands[0]
        return f"/{command.name}" + (" " if command.argument else "")
