"""The terminal app: wires theme, screens and engine together. `run` is the door that the command line opens."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from fireside.app_settings import AppSettings
from fireside.tui import fetching, theme
from fireside.tui.archive import Archive
from fireside.tui.engine import Engine, LocalEngine
from fireside.tui.screens.chat import ChatScreen
from fireside.tui.start import Start


class FiresideApp(App[int]):
    """The chat in a terminal."""

    TITLE = "fireside"
    PAUSE_GC_ON_SCROLL = True
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-normal"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (16, "-tall")]  # noqa: RUF012
    CSS = """
    Toast { background: $panel; color: $foreground; border-left: outer $primary; padding: 0 1; margin: 0 1 0 0; }
    ToastRack { margin-bottom: 4; }
    .-narrow ToastRack { margin-bottom: 2; }
    .-narrow Toast { width: 1fr; max-width: 100%; margin: 0; }
    CommandPalette { background: $background 60%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", id="app.quit", show=False, priority=True),
        Binding("ctrl+p", "command_palette", "All commands", id="app.palette", show=False, priority=True),
    ]

    def __init__(
        self,
        engine: Engine,
        start: Start | None = None,
        archive: Archive | None = None,
        settings: AppSettings | None = None,
        pull: fetching.Start = fetching.start_pull,
    ) -> None:
        super().__init__()
        self._pull = pull
        self.settings = settings or AppSettings()
        self._engine = engine
        self._start = start or Start()
        self._archive = archive or Archive()

    def on_mount(self) -> None:
        for known in (theme.DARK, theme.LIGHT):
            self.register_theme(known)
        wanted = self.settings.theme
        self.theme = wanted if wanted in self.available_themes else theme.preferred()
        self.set_keymap(self.settings.keys)
        self.push_screen(ChatScreen(self._engine, self._archive, self._start, self.settings, self._pull))

    def on_unmount(self) -> None:
        self._archive.close()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our own names in the colours of a theme that does not know them."""
        return theme.defaults(self.current_theme)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        if isinstance(screen, ChatScreen):
            yield SystemCommand("New chat", "Leave this conversation and begin another", screen.action_new_chat)
            yield SystemCommand("All chats", "Open, search, pin and remove chats", screen.action_chats)
            yield SystemCommand("Fork", "A new chat that begins like this one", partial(screen.want, "fork", ""))
            yield SystemCommand("Export", "This chat as a Markdown file here", partial(screen.want, "export", ""))
            yield SystemCommand("Editor", "Write the message in $EDITOR", screen.action_editor)
            yield SystemCommand("Branches", "All versions of this chat as a tree", screen.action_tree)
            yield SystemCommand("Choose a model", "Which model answers next", screen.action_choose_model)
            yield SystemCommand("Retry", "Answer the last message again, with a new seed", screen.action_retry)
            yield SystemCommand("Stop", "End the present answer; what came stays", screen.action_stop)
            yield SystemCommand("Copy answer", "The last answer as Markdown", lambda: screen.copy("answer"))
            yield SystemCommand("Copy code", "The code of the last answer, block by block", lambda: screen.copy("code"))
            yield SystemCommand("Write file", "What was copied last, into a file here", lambda: screen.copy("file"))
            yield SystemCommand("Thinking", "Fold or unfold the last answer's thinking", screen.action_toggle_thinking)
            yield SystemCommand("Help", "Keys and commands", screen.action_help)
        yield SystemCommand("Light or dark", "Turn the fireside theme around", self.action_turn_theme)
        yield SystemCommand("Theme", "Choose among all themes", self.action_change_theme)
        yield SystemCommand("Quit", "Leave fireside", self.action_quit)

    def action_turn_theme(self) -> None:
        self.theme = theme.LIGHT.name if self.current_theme.dark else theme.DARK.name


def run(start: Start, *, saves: bool = True, settings: AppSettings | None = None) -> int:
    """Chat until the user leaves. Gives the exit code."""
    app = FiresideApp(LocalEngine(), start, Archive(is_on=saves), settings)
    answer = app.run()
    return app.return_code or answer or 0
