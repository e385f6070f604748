"""What is being written is never lost: kept over a quit and between chats; long pastes are folded, and sent whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from textual.events import Paste
from tui_driver import Driver, drive
from tui_fake import FakeEngine

from fireside.conversations import desk
from fireside.conversations.store import Store
from fireside.tui.pastes import Pastes

LONG = "\n".join(f"line {at}" for at in range(42))


def test_unsent_text_is_there_after_a_quit_and_belongs_to_its_chat() -> None:
    async def first(ui: Driver) -> None:
        await ui.ask("One")
        ui.prompt.insert("half a thought")

    drive(FakeEngine(), first)

    async def second(ui: Driver) -> None:
        await ui.until(lambda: ui.prompt.text == "half a thought")
        # A new chat takes along what is being written; another chat does not.
        await ui.pilot.press("ctrl+n")
        await ui.until(lambda: not ui.path)
        assert ui.prompt.text == "half a thought"
        ui.prompt.clear()
        ui.prompt.insert("for the new one")
        await ui.chat.chats.open("last")
        assert ui.prompt.text == ""
        await ui.chat.chats.begin()

    drive(FakeEngine(), second, resume="last")

    async def third(ui: Driver) -> None:
        await ui.until(lambda: ui.prompt.text == "for the new one")
        await ui.ask("")
        assert ui.engine.bodies[0]["messages"][-1]["content"] == "for the new one"

    drive(FakeEngine(), third)

    async def fourth(ui: Driver) -> None:
        await ui.ready()
        assert ui.prompt.text == ""

    drive(FakeEngine(), fourth)


def test_unsent_text_survives_a_kill() -> None:
    """Nobody says goodbye before a kill, so it is written while the user pauses."""

    async def scenario(ui: Driver) -> None:
        ui.prompt.insert("typed, never sent")

        def kept() -> str:
            store = Store()
            text = desk.draft_of(store, desk.NEW_CHAT)
            store.close()
            return text

        await ui.until(lambda: kept() == "typed, never sent")

    drive(FakeEngine(), scenario)


def test_nothing_unsent_is_kept_where_nothing_is_to_be_kept() -> None:
    async def scenario(ui: Driver) -> None:
        ui.prompt.insert("a secret")
        await ui.pilot.pause(0.9)

    drive(FakeEngine(), scenario, saves=False)
    store = Store()
    assert desk.draft_of(store, desk.NEW_CHAT) == ""
    store.close()


def test_a_removed_chat_takes_its_unsent_text_along() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("One")
        ui.prompt.insert("secret")

    drive(FakeEngine(), scenario)
    store = Store()
    id_ = store.resolve("last")
    assert desk.draft_of(store, id_) == "secret"
    store.remove([id_])
    assert desk.draft_of(store, id_) == ""
    store.close()


def test_a_long_paste_is_folded_unfolded_by_tab_and_sent_whole() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ready()
        ui.prompt.insert("Look: ")
        await ui.prompt._on_paste(Paste(LONG.replace("\n", "\r\n")))
        assert ui.prompt.text == "Look: [paste #1 +42 lines]"
        await ui.prompt._on_paste(Paste("short"))
        assert ui.prompt.text.endswith("lines]short")
        await ui.pilot.press("enter")
        await ui.until(lambda: ui.engine.bodies)
        assert ui.engine.bodies[0]["messages"][-1]["content"] == f"Look: {LONG}short"
        await ui.prompt._on_paste(Paste(LONG))
        assert ui.prompt.text == "[paste #2 +42 lines]"
        await ui.pilot.press("tab")
        assert ui.prompt.text == LONG

    drive(FakeEngine(), scenario)


@given(st.lists(st.text(max_size=30) | st.just(LONG) | st.just("x" * 2001), max_size=6), st.text(max_size=20))
def test_what_is_expanded_is_what_was_pasted(texts: list[str], between: str) -> None:
    pastes = Pastes()
    folded = between.join(pastes.fold(text) for text in texts)
    if "[paste #" not in between.join(texts):
        assert pastes.expand(folded) == between.join(texts)


def test_a_marker_that_was_typed_means_nothing() -> None:
    assert Pastes().expand("[paste #1 +42 lines]") == "[paste #1 +42 lines]"
    assert Pastes().marker_at("[paste #1 +42 lines]", 3) is None
