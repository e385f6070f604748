"""What an empty chat shows: where one is, and the few keys that matter."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

KEYS = (
    ("enter", "send"),
    ("ctrl+j", "new line"),
    ("ctrl+o", "choose a model"),
    ("ctrl+p", "all commands"),
    ("f1", "help"),
)


class Welcome(Static):
    """Hidden as soon as there is a message."""

    DEFAULT_CSS = """
    Welcome { height: 1fr; content-align: center middle; color: $faint; }
    """

    def __init__(self) -> None:
        super().__init__(markup=False)

    def on_resize(self) -> None:
        key_width = max(len(key) for key, _ in KEYS)
        lines = [
            Content.styled("fireside", "bold $primary"),
            Content("The model runs here. Nothing you write leaves this machine."),
        ]
        if self.size.height >= len(KEYS) + 6:
            rows = [Content.assemble((key.rjust(key_width), "$accent"), f"  {what:<14}") for key, what in KEYS]
            lines += [Content(""), *rows]
        self.update(Content("\n").join(lines))
