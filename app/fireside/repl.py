"""`fireside chat --plain`: a conversation line by line, for screen readers, dumb terminals and pipes.

Everything is appended, nothing is drawn again; finished lines belong to the terminal's scrollback.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from fireside import engine_process
from fireside.account import Ending
from fireside.answer import Answer
from fireside.arguments import did_you_mean
from fireside.client import EngineClient, EngineFailure
from fireside.exit_codes import ExitCode
from fireside.failure import Failure, from_engine
from fireside.models import ModelChoice
from fireside.recording import Recording
from fireside.streaming import STREAM_OPTIONS, Display, stream_answer
from fireside.terminal import Narrator, Output

REPEAT_AFTER = 30.0
"""Seconds between two lines about the same wait; a screen reader speaks each of them."""

_HELP = """\
/new            begin a new conversation; this one stays saved
/model NAME     ask another model; without a name, tell which
/system TEXT    set the system prompt; without text, take it away
/help           these lines
/quit           leave; so does Ctrl-D
A line that ends with \\ goes on in the next one. Ctrl-C stops an answer."""
COMMANDS = ("/new", "/model", "/system", "/help", "/quit")


class LineNarrator(Narrator):
    """A narrator that never draws: it says how a wait goes on, seldom, in whole lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.is_live = False
        self._clock = clock
        self._last = clock()

    def status(self, text: str) -> None:
        if self._clock() - self._last >= REPEAT_AFTER:
            self._last = self._clock()
            self.say(f"Still working: {text}")

    def clear(self) -> None:
        self._last = self._clock()


class Repl:
    """One conversation."""

    def __init__(self, recording: Recording, choice: ModelChoice, read_line: Callable[[str], str]) -> None:
        self._recording = recording
        self._choice = choice
        self._read_line = read_line
        """Takes a prompt, gives a line; EOFError at the end."""
        self._output = Output()
        self._narrator = LineNarrator()

    def run(self) -> None:
        while True:
            try:
                line = self._read_turn()
            except EOFError:
                return
            except KeyboardInterrupt:
                self._say("\n/quit or Ctrl-D leaves.")
                continue
            if line in ("/quit", "/exit", "exit", "quit", ":q"):
                return
            if line.startswith("/"):
                self._command(line)
            elif line:
                self._ask(line)

    def _read_turn(self) -> str:
        lines = [self._read_line("You: ")]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._read_line("... "))
        return "\n".join(lines).strip()

    def _command(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        rest = rest.strip()
        match word:
            case "/new":
                self._recording = self._recording.anew()
                self._say("A new conversation.")
            case "/model":
                self._change_model(rest)
            case "/system":
                self._recording.conversation.system = rest
                self._say("The system prompt is set." if rest else "No system prompt.")
            case "/help":
                self._say(_HELP)
            case _:
                self._say(f"Unknown command. {did_you_mean(word, COMMANDS) or '/help lists them.'}")

    def _change_model(self, name: str) -> None:
        if not name:
            self._say(self._choice.name or "The engine's default model.")
            return
        try:
            self._choice = ModelChoice(name)
        except Failure as failure:
            self._complain(failure)

    def _ask(self, text: str) -> None:
        answer, recording = Answer(), self._recording
        messages = recording.messages(text, (), None)
        ending: Ending = "failed"
        try:
            endpoint = engine_process.connect(status=self._narrator.status, note=self._narrator.note)
            client = EngineClient(endpoint)
            extension = {"fireside": recording.extension()}
            body = {"model": self._choice.resolve(client), "messages": messages, **STREAM_OPTIONS, **extension}
            self._output.write("Model: ")
            stream_answer(client, body, answer, self._narrator, Display(self._narrator, self._output))
            ending = "stop"
        except KeyboardInterrupt:
            ending = "stopped"
            self._say("\nStopped.")
        except EngineFailure as failure:
            self._complain(from_engine(failure))
        except Failure as failure:
            self._complain(failure)
        recording.keep(answer, ending, self._choice.name, {}, self._narrator)

    def _say(self, text: str) -> None:
        self._output.write(f"{text}\n")

    def _complain(self, failure: Failure) -> None:
        hint = failure.hint
        if failure.exit_code is ExitCode.CONTEXT:
            hint = "/new begins a new conversation."
        self._narrator.say(f"\nfireside: {failure.message}" + (f"\n{hint}" if hint else ""))


def read_line(prompt: str) -> str:
    """From a terminal with editing and history; from a pipe as it comes, without a prompt."""
    if sys.stdin is None:
        raise EOFError
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\n")
    import readline  # noqa: F401 - its import gives input() editing and history

    return input(prompt)
