"""What slash commands do, by what the chat screen can do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from fireside import app_settings, sources
from fireside.app_settings import AppSettings
from fireside.terminal import Narrator
from fireside.tui import commands
from fireside.tui.widgets.message import AnswerMessage

if TYPE_CHECKING:
    from fireside.tui.screens.chat import ChatScreen


async def execute(screen: ChatScreen, invocation: commands.Invocation) -> None:
    """Raises BadCommandError, Failure and OSError with words for the user."""
    argument, state = invocation.argument, screen.state
    match invocation.command.name:
        case "new":
            await screen.action_new_chat()
        case "model" if argument:
            screen.use_model(argument)
        case "model":
            screen.action_choose_model()
        case "pull" if argument == "stop":
            screen.stop_fetching()
        case "pull" if argument:
            target, quant = split_quant(argument)
            screen.fetch(target, quant)
        case "pull":
            raise commands.BadCommandError("Say which: /pull qwen3-4b, or hf:OWNER/REPO; ctrl+o shows what there is.")
        case "system":
            state.conversation.system = argument
            if state.conversation.turns:
                await state.archive.save(state.conversation)
            await screen.notice("System prompt set." if argument else "System prompt cleared.", argument)
        case "persona" if argument:
            text = await asyncio.to_thread(_persona, state.app_settings, argument)
            state.conversation.system = text
            await screen.notice(f"Persona {argument}.", text)
        case "persona":
            names = ", ".join(state.app_settings.personas)
            hint = "fireside config set personas.NAME 'You are …' makes one."
            await screen.notice(f"Personas: {names}." if names else "There are no personas yet.", hint)
        case "theme" if argument in screen.app.available_themes:
            screen.app.theme = argument
        case "theme" if argument:
            raise commands.BadCommandError(f"There is no theme {argument}. /theme without a name shows them.")
        case "theme":
            screen.app.search_themes()
        case "tint":
            await _tint(screen, on=not state.app_settings.tint)
        case "vim":
            state.app_settings = replace(state.app_settings, vim=not state.app_settings.vim)
            screen.toast("vim keys: esc to the messages, i to the prompt" if state.app_settings.vim else "vim keys off")
        case "copy":
            await screen.copy("code" if argument else "answer")
        case "retry":
            screen.action_retry()
        case "chats" | "search":
            screen.action_chats(argument)
        case "tree":
            screen.action_tree()
        case "fork" if state.conversation.last is not None:
            screen.toast(await screen.chats.fork(state.conversation.last))
        case "fork":
            raise commands.BadCommandError("There is nothing to fork yet.")
        case "rename":
            screen.toast(await screen.chats.rename(argument))
        case "export":
            screen.toast(await screen.chats.export(argument))
        case "temp":
            value = commands.number(argument, 0, 10, "The temperature")
            state.settings = replace(state.settings, temperature=value)
            screen.toast("Temperature: the engine's own" if value is None else f"Temperature {value:g}")
        case "seed":
            seed = commands.whole_number(argument, "The seed")
            state.settings = replace(state.settings, seed=seed)
            screen.toast("A new seed for each answer" if seed is None else f"Seed {seed}")
        case "deterministic":
            if argument not in ("on", "off"):
                raise commands.BadCommandError("Say /deterministic on or /deterministic off.")
            state.settings = replace(state.settings, deterministic=argument == "on")
            screen.toast(f"Deterministic {argument}, from the next message")
        case "draft":
            state.settings = replace(state.settings, draft=argument)
            screen.toast(f"Drafts: {argument or 'as the engine chooses'}, from the next message")
        case "help":
            screen.action_help()
        case "quit":
            screen.app.exit(0)


async def _tint(screen: ChatScreen, *, on: bool) -> None:
    """For all answers that are shown and come; remembered for the next chat."""
    state = screen.state
    state.app_settings = replace(state.app_settings, tint=on)
    for message in screen.query(AnswerMessage):
        message.tint(on=on)
    screen.toast("Drafted and accepted text is tinted" if on else "Answers as usual")
    await asyncio.to_thread(app_settings.save, "tint", on)


def _persona(settings: AppSettings, name: str) -> str:
    return sources.text_or_file(settings.persona(name), Narrator(quiet=True))


def split_quant(argument: str) -> tuple[str, str]:
    """NAME:QUANT as its parts; what belongs to a repository on the hub stays with it."""
    if argument.startswith("hf:"):
        return argument, ""
    name, _, quant = argument.partition(":")
    return name, quant
