"""What a model, a file or a saved chat may hold without touching the terminal: cut anywhere, saved, shown again."""

from __future__ import annotations

import pytest
from tui_driver import Driver, drive
from tui_fake import FakeEngine, Script

from fireside.conversations.store import Store

HOSTILE = (
    "a\x1b[2J\x1b[31mb \x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\ c\x1b]52;c;ZXZpbA==\x07d \x1bP1$rq\x1b\\e"
    " \x9b5nf \x9d0;title\x9cg \u202eh\u2066i [b]not markup[/] [@click=app.quit]j[/]"
)
SHOWN = "ab link cd e f g hi [b]not markup[/] [@click=app.quit]j[/]"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_terminal_control_reaches_no_screen_however_it_is_cut(piece: int) -> None:
    async def scenario(ui: Driver) -> None:
        written: list[str] = []
        driver = ui.pilot.app._driver
        assert driver is not None
        original = driver.write
        driver.write = lambda data: (written.append(data), original(data))[1]  # type: ignore[method-assign]
        await ui.ask("Show [me]")
        assert ui.messages == ["you: Show [me]", f"model: {SHOWN}"]
        picture = ui.pilot.app.export_screenshot()
        for sign in ("\x1b", "\x9b", "\x9d", "\u202e", "\u2066", "ZXZpbA", "evil"):
            assert sign not in picture
            if sign != "\x1b":
                assert not any(sign in data for data in written)

    drive(FakeEngine([Script(HOSTILE, piece=piece)]), scenario)
    # Kept as it came, and harmless again when it is shown again.
    store = Store()
    answer = store.load(store.resolve("last")).path()[-1]
    assert answer.text == HOSTILE

    async def again(ui: Driver) -> None:
        await ui.until(lambda: ui.messages == ["you: Show [me]", f"model: {SHOWN}"])
        await ui.send("/search link")
        await ui.until(lambda: getattr(ui.pilot.app.screen, "_rows", None))
        await ui.pilot.pause(0.2)
        picture = ui.pilot.app.export_screenshot()
        for sign in ("\x1b", "\x9b", "\u202e", "\u2066"):
            assert sign not in picture

    drive(FakeEngine(), again, resume="last", size=(110, 30))


def test_names_of_chats_models_and_files_are_no_markup() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("[red]x[/] \x1b[31m@[/nothing]")
        await ui.send("/rename [bold]y \x1b]0;z\x07")
        await ui.until(lambda: "Named" in ui.toasts)
        assert "\x1b" not in ui.pilot.app.export_screenshot()
        for line in ("/chats", "/tree"):
            await ui.send(line)
            await ui.pilot.pause(0.4)
            assert "\x1b" not in ui.pilot.app.export_screenshot()
            await ui.pilot.press("escape")

    drive(FakeEngine(), scenario, size=(110, 30))
