"""Chats that stay: saved as they happen, found, opened, branched, removed, in the terminal app."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from textual.widgets import Input
from tui_driver import Driver, drive
from tui_fake import NAME, FakeEngine, Script, failure

from fireside.account import Account
from fireside.conversations.store import Store
from fireside.conversations.tree import Conversation
from fireside.prompt import Material
from fireside.tui import answering
from fireside.tui.screens.chats import ChatList
from fireside.tui.screens.tree import TreeScreen, lines_of
from fireside.tui.widgets.bars import HeaderBar
from fireside.tui.widgets.message import Notice, UserMessage, WhyLine
from fireside.tui.widgets.transcript_view import FIRST_MOUNTED
from fireside.tui.widgets.welcome import Welcome


def saved(*texts: str, **fields: object) -> Conversation:
    """A conversation on disk: questions and answers in turn."""
    conversation = Conversation(**fields)  # type: ignore[arg-type]
    for at, text in enumerate(texts):
        if at % 2:
            conversation.answer(text, model=NAME, account=Account(model=NAME, cached=1, prefilled=2, generated=3))
        else:
            conversation.ask(text)
    store = Store()
    store.save(conversation, conversation.turns.values())
    store.close()
    return conversation


def on_disk() -> list[list[str]]:
    """The paths of all conversations, newest first."""
    store = Store()
    try:
        return [[turn.text for turn in store.load(entry.id).path()] for entry in store.summaries()]
    finally:
        store.close()


def test_a_chat_is_saved_and_goes_on_after_a_restart() -> None:
    async def first(ui: Driver) -> None:
        for line in ("/system Be brief.", "/temp 0.5"):
            await ui.send(line)
        await ui.ask("Why?")
        assert on_disk() == [["Why?", "Because."]]
        await ui.send("And?")
        await ui.until(lambda: "model: half an" in ui.messages)
        await ui.pilot.press("ctrl+q")

    drive(FakeEngine([Script("Because."), Script("half an", hold=asyncio.Event())]), first)
    assert on_disk() == [["Why?", "Because.", "And?", "half an"]]

    async def second(ui: Driver) -> None:
        await ui.until(lambda: len(ui.messages) == 4)
        assert ui.messages[1] == "model: Because."
        assert "broke off" in ui.text(WhyLine)
        assert ui.chat.state.settings.temperature == 0.5
        await ui.ask("More")
        body = ui.engine.bodies[-1]
        content = [message["content"] for message in body["messages"]]
        assert content == ["Be brief.", "Why?", "Because.", "And?", "half an", "More"]
        assert body["fireside"]["conversation"] == ui.chat.state.conversation.id

    drive(FakeEngine(), second, resume="last")
    assert on_disk()[0][-1] == "Hello."


def test_an_answer_is_saved_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "CHECKPOINT", 0.02)

    async def scenario(ui: Driver) -> None:
        await ui.send("Tell")
        await ui.until(lambda: on_disk() == [["Tell", "Half a story"]])
        # Killed here, it would be on the disk; stopped, it is complete.
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.chat.state.generation is None and "stopped by you" in ui.text(WhyLine))

    drive(FakeEngine([Script("Half a story", hold=asyncio.Event())]), scenario)
    store = Store()
    account = store.load(store.resolve("last")).path()[-1].account
    assert account is not None
    assert account.ending == "stopped"


def test_nothing_is_kept_where_nothing_is_to_be_saved(home: Path) -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("Why?")
        assert ui.engine.bodies[0]["fireside"]["save"] is False
        assert not ui.chat.query_one(HeaderBar).is_saved

    drive(FakeEngine(), scenario, saves=False)
    assert on_disk() == []


def test_a_disk_that_cannot_be_written_is_told_and_the_chat_goes_on(home: Path) -> None:
    (home / "data").write_text("in the way")

    async def scenario(ui: Driver) -> None:
        await ui.ask("Why?")
        assert "Hello." in ui.messages[-1] or "Hello." in ui.messages[-2] or "Hello." in "".join(ui.messages)
        await ui.until(lambda: "Not saved." in ui.text(Notice))
        assert not ui.chat.query_one(HeaderBar).is_saved
        (home / "data").unlink()
        await ui.ask("Again?")
        assert ui.chat.state.archive.failure is None
        await ui.until(lambda: ui.chat.query_one(HeaderBar).is_saved)
        assert on_disk() == [["Why?", "Hello.", "Again?", "Hello."]]

    drive(FakeEngine(), scenario)


def test_what_nothing_came_of_is_not_kept() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.send("Oops")
        await ui.until(lambda: ui.engine.bodies)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.prompt.text == "Oops" and ui.chat.state.generation is None)
        assert on_disk() == []

    drive(FakeEngine([Script("", hold=asyncio.Event())]), scenario)


def test_an_edited_question_becomes_a_branch() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("one")
        await ui.ask("two")
        await ui.pilot.press("alt+up", "e")
        await ui.until(lambda: ui.prompt.text == "two")
        ui.prompt.clear()
        await ui.ask("zwei")
        assert ui.messages == ["you: one", "model: A", "you: zwei\n‹ 2/2 ›", "model: C"]
        content = [message["content"] for message in ui.engine.bodies[-1]["messages"]]
        assert content == ["one", "A", "zwei"]
        await ui.pilot.press("alt+up", "alt+up", "left")
        await ui.until(lambda: ui.messages == ["you: one", "model: A", "you: two\n‹ 1/2 ›", "model: B"])
        assert on_disk() == [["one", "A", "two", "B"]]
        assert ui.chat.state.view().used == 202 + 1
        await ui.pilot.press("left")
        await ui.until(lambda: "last branch" in ui.toasts)
        await ui.pilot.press("right")
        await ui.until(lambda: ui.messages[-1] == "model: C")
        await ui.pilot.press("escape", "escape")
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.prompt.text == "zwei")
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.prompt.text == "")
        assert ui.chat.state.editing is None

    # The status line follows the branch.
    scripts = [Script("A"), Script("B", prompt=(202, 0)), Script("C", prompt=(303, 0))]
    drive(FakeEngine(scripts), scenario)


def test_a_retry_is_a_branch_that_survives() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("one")
        await ui.ask("two")
        await ui.pilot.press("ctrl+r")
        await ui.until(lambda: ui.messages[-1] == "model: C" and not ui.chat._answering.is_busy)
        assert "‹ 2/2 ›" in ui.text(WhyLine)
        # An answer further up is answered again; what followed it stays on its branch.
        await ui.pilot.press("alt+up", "alt+up", "alt+up", "r")
        await ui.until(lambda: ui.messages == ["you: one", "model: D"])
        await ui.until(lambda: not ui.chat._answering.is_busy)
        assert on_disk() == [["one", "D"]]
        await ui.pilot.press("t")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, TreeScreen))
        await ui.pilot.press("k", "enter")
        await ui.until(lambda: ui.messages == ["you: one", "model: A", "you: two", "model: C"])

    drive(FakeEngine([Script("A"), Script("B"), Script("C"), Script("D")]), scenario)


def test_a_failed_edit_leaves_the_branch_before_it() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.ask("one")
        await ui.pilot.press("escape", "escape")
        await ui.until(lambda: ui.prompt.text == "one")
        ui.prompt.clear()
        await ui.send("uno")
        await ui.until(lambda: "The model process died." in ui.text(Notice) and not ui.chat._answering.is_busy)
        assert ui.prompt.text == "uno"
        await ui.until(lambda: on_disk() == [["one", "A"]])
        assert ui.path == [("user", "one"), ("assistant", "A")]

    drive(FakeEngine([Script("A"), Script("", failure=failure())]), scenario)


def test_fork_rename_export_and_removal_of_a_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: len(ui.messages) == 4)
        old = ui.chat.state.conversation.id
        await ui.send("/rename My [title]")
        await ui.until(lambda: ui.chat.query_one(HeaderBar).chat_title == "My [title]")
        await ui.pilot.press("alt+up", "alt+up", "alt+up", "f")
        await ui.until(lambda: ui.chat.state.conversation.id != old)
        assert ui.messages == ["you: q1", "model: a1"]
        await ui.until(lambda: sorted(on_disk()) == [["q1", "a1"], ["q1", "a1", "q2", "a2"]])
        await ui.send("/export out.json")
        await ui.until(lambda: "out.json" in ui.toasts)
        assert json.loads((tmp_path / "out.json").read_text())["title"] == "My [title] (fork)"
        await ui.pilot.press("tab", "x")
        await ui.until(lambda: list(tmp_path.glob("my-title-fork-*.md")))
        await ui.pilot.press("d")
        await ui.until(lambda: "Press d again" in ui.toasts)
        await ui.pilot.press("d")
        await ui.until(lambda: ui.messages == ["you: q1"])
        await ui.until(lambda: sorted(on_disk()) == [["q1"], ["q1", "a1", "q2", "a2"]])
        # A question without an answer is answered by a retry.
        await ui.pilot.press("r")
        await ui.until(lambda: ui.messages == ["you: q1", "model: Hello."])

    saved("q1", "a1", "q2", "a2")
    drive(FakeEngine(), scenario, resume="last")


def test_chats_are_listed_searched_opened_and_removed() -> None:
    long = saved(*(f"{'question' if at % 2 == 0 else 'answer'} number {at}" for at in range(60)))
    needle = saved("Where is it?", "The needle is [here].", "Thanks")
    other = saved("Other", "thing")

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: "Where is it?" in str(ui.chat.query_one(Welcome).render()))
        await ui.pilot.press("ctrl+l")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ChatList) and ui.pilot.app.screen._rows)
        screen = ui.pilot.app.screen
        assert isinstance(screen, ChatList)
        assert [row.title for row in screen._rows] == ["Other", "Where is it?", "question number 0"]
        screen.query_one(Input).value = "needle"
        await ui.until(lambda: [getattr(row, "turn", "") for row in screen._rows] == [needle.path()[1].id])
        await ui.pilot.press("enter")
        await ui.until(lambda: len(ui.messages) == 3)
        assert ui.transcript.has_focus
        # A hit far up in a long chat is mounted and stood at.
        await ui.pilot.press("ctrl+f")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ChatList))
        ui.pilot.app.screen.query_one(Input).value = '"number 6"'
        hits = ui.pilot.app.screen
        assert isinstance(hits, ChatList)
        await ui.until(lambda: [getattr(row, "turn", "") for row in hits._rows] == [long.path()[6].id])
        await ui.pilot.press("enter")
        await ui.until(lambda: "you: question number 6" in ui.messages)
        await ui.until(lambda: [str(w.render()) for w in ui.chat.query(UserMessage) if w.has_class("-at")])
        assert [w.text for w in ui.chat.query(UserMessage) if w.has_class("-at")] == ["question number 6"]
        assert len(ui.transcript.mounted) == FIRST_MOUNTED
        await ui.pilot.press("end")
        await ui.until(lambda: ui.messages[-1] == "model: answer number 59")
        assert len(ui.transcript.mounted) == FIRST_MOUNTED
        # The chat that is shown is removed while it is shown.
        await ui.pilot.press("ctrl+l")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ChatList) and ui.pilot.app.screen._rows)
        await ui.pilot.press("down", "down", "ctrl+x")
        assert len(on_disk()) == 3
        await ui.pilot.press("ctrl+x")
        await ui.until(lambda: len(on_disk()) == 2)
        await ui.pilot.press("escape")
        await ui.until(lambda: ui.messages == [])
        await ui.until(lambda: ui.engine.forgotten == [long.id])
        await ui.send("/chats thing")
        await ui.until(lambda: isinstance(ui.pilot.app.screen, ChatList) and ui.pilot.app.screen._rows)
        await ui.pilot.press("enter")
        await ui.until(lambda: ui.chat.state.conversation.id == other.id)

    drive(FakeEngine(), scenario, size=(110, 34))


def test_a_long_chat_opens_with_few_messages_and_knows_all() -> None:
    saved(*(f"turn {at}" for at in range(500)))

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: ui.messages)
        assert len(ui.transcript.mounted) == FIRST_MOUNTED
        assert ui.messages[-1] == "model: turn 499"
        assert len(ui.path) == 500
        await ui.ask("last")
        assert len(ui.engine.bodies[-1]["messages"]) == 501

    drive(FakeEngine(), scenario, resume="last")


def test_questions_of_other_chats_are_in_the_history() -> None:
    saved("older", "a", "newer", "b")

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: ui.prompt.history_of_session.entries)
        await ui.pilot.press("up")
        assert ui.prompt.text == "newer"
        await ui.pilot.press("up")
        assert ui.prompt.text == "older"

    drive(FakeEngine(), scenario)


def test_files_of_a_question_are_shown_and_read_again() -> None:
    conversation = Conversation()
    conversation.ask("What is it?", [Material("a[b].py", "one\ntwo\n"), Material("", "piped")])
    conversation.answer("Code.", model="tiny", account=Account())
    Store().save(conversation, conversation.turns.values())

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: ui.messages)
        assert ui.messages[0] == "you: What is it?\n@ a[b].py · 2 lines · ≈2 tok\n@ piped text · 1 line · ≈1 tok"
        await ui.pilot.press("escape", "escape")
        await ui.until(lambda: ui.prompt.text == "What is it?")
        await ui.ask(" Really?")
        assert ui.engine.bodies[0]["messages"][0]["content"].startswith("a[b].py:\n```\none\ntwo\n```\n\n```\npiped")

    drive(FakeEngine(), scenario, resume="last")


def test_a_chat_that_is_not_there_is_said() -> None:
    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: "There is no conversation" in ui.text(Notice))
        await ui.ask("Hi")
        assert "model: Hello." in ui.messages

    drive(FakeEngine(), scenario, resume="zzz")


def test_the_tree_is_indented_only_where_it_branches() -> None:
    conversation = Conversation()
    conversation.ask("q")
    first = conversation.answer("a1")
    conversation.ask("deep")
    conversation.go_back(first.parent)
    conversation.answer("a2")
    lines = [(line.rail + line.turn.text, line.is_shown) for line in lines_of(conversation)]
    assert lines == [("q", True), ("├ a1", False), ("│ deep", False), ("└ a2", True)]
    long = Conversation()
    for number in range(3000):
        (long.answer if number % 2 else long.ask)(str(number))
    assert len(lines_of(long)) == 3000


def test_two_terminals_write_the_same_chat() -> None:
    saved("q", "a")

    async def scenario(ui: Driver) -> None:
        await ui.until(lambda: ui.messages)
        other = Store()
        conversation = other.load(other.resolve("last"))
        conversation.ask("from elsewhere")
        other.save(conversation, [conversation.answer("b", account=Account())])
        await ui.ask("from here")
        reloaded = other.load(conversation.id)
        assert {turn.text for turn in reloaded.turns.values()} == {
            "q",
            "a",
            "from elsewhere",
            "b",
            "from here",
            "Hello.",
        }
        assert [turn.text for turn in reloaded.path()] == ["q", "a", "from here", "Hello."]

    drive(FakeEngine(), scenario, resume="last")
