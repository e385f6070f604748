"""What slash commands do, by what the chat screen can do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fireside.tui import commands

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
        case "system":
            state.conversation.system = argument
            await state.archive.save(state.conversation) if state.conversation.turns else None
            await screen.notice("System prompt set." if argument else "System prompt cleared.", argument)
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
        case "help":
            screen.action_help()
        case "quit":
            screen.app.exit(0)
