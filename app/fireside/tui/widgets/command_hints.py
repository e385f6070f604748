"""The slash commands that what is typed may become, above the prompt."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from fireside.tui.commands import Command, is_command, matching


class CommandHints(Static):
    """Shown while a command is being typed."""

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
        self.found: list[Command] = []

    def look_at(self, text: str, most: int) -> None:
        """Show what `text` may become, in so many lines."""
        is_name = (text == "/" or is_command(text)) and " " not in text
        self.found = matching(text[1:]) if is_name else []
        self.display = bool(self.found)
        listed = self.found if len(self.found) <= most else self.found[: max(1, most - 1)]
        width = max((len(command.usage) for command in listed), default=0)
        rows = [
            Content.assemble((command.usage.ljust(width), "$accent"), "  ", (command.description, "$faint")).truncate(
                max(10, self.app.size.width - 4), ellipsis=True
            )
            for command in listed
        ]
        if len(listed) < len(self.found):
            rows.append(Content.styled(f"… {len(self.found) - len(listed)} more", "$faint"))
        self.update(Content("\n").join(rows))

    @property
    def completion(self) -> str:
        """What tab makes of it; empty if nothing matches."""
        if not self.found:
            return ""
        command = self.found[0]
        return f"/{command.name}" + (" " if command.argument else "")
