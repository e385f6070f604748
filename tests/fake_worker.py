"""A worker process without a model: speaks the pipe protocol, and does what the prompt tells it to.

The last message of a prompt is a list of `key=value`: how many `words` to say, with which `delay`, and what to suffer
on the way; `say` is the whole answer, percent-encoded, said in pieces of `cut` characters; with `sure` it has hardly
any doubt. An answer that it is given it keeps, and ends with a word of its own. How a load goes is in the name of the
model file. What was asked of it stands in `$FAKE_WORKER_JOURNAL`.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import struct
import sys
import threading
import time
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fireside_engine import errors
from fireside_engine.core.events import Delta, Failed, Finished, FinishReason, Progress, Started, Timings, TokenLogprob
from fireside_engine.core.request import ChatPrompt, FillPrompt, Prompt, Request, TextPrompt, TokensPrompt
from fireside_engine.worker import protocol
from fireside_engine.worker.questions import (
    Ask,
    Count,
    Describe,
    Detokenize,
    Embed,
    Held,
    Question,
    Render,
    Tokenize,
    Told,
)

OUT = os.fdopen(os.dup(1), "wb", buffering=0)


ONE_AT_A_TIME = threading.Lock()
"""A frame that is larger than the pipe is written in parts, and a beat may come between."""


def say(reply: protocol.Reply) -> None:
    with ONE_AT_A_TIME:
        OUT.write(protocol.encode_reply(reply))


def note(*words: str) -> None:
    if path := os.environ.get("FAKE_WORKER_JOURNAL"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(" ".join((*words, str(os.getpid()))) + "\n")


def die(how: str) -> None:
    print(f"fake worker: about to die of {how}", file=sys.stderr, flush=True)
    os.kill(os.getpid(), getattr(signal, how))
    time.sleep(10)


def spoken(prompt: Prompt) -> str:
    """The text in which the worker is told what to do."""
    match prompt:
        case ChatPrompt(messages):
            return messages[-1].content
        case TextPrompt(text):
            return text
        case FillPrompt(prefix=prefix):
            return prefix
        case TokensPrompt(pieces):
            return " ".join(piece for piece in pieces if isinstance(piece, str))


def answered(question: Question) -> dict[str, Any]:
    """A vocabulary in which every character is a token, its code point; 0 begins a text."""
    match question:
        case Tokenize(text, add_special):
            tokens = [0] * add_special + [ord(char) for char in text]
            return {"tokens": tokens, "pieces": [chr(token) for token in tokens]}
        case Detokenize(tokens):
            return {"text": "".join(chr(min(token, 0x10FFFF)) for token in tokens)}
        case Render(prompt):
            return {"text": "".join(f"<{message.role}>{message.content}" for message in prompt.messages)}
        case Count(prompt):
            return {"n": len(spoken(prompt))}
        case Held(prompt):
            return {"n": len(spoken(prompt)), "ram": 0, "disk": 0}
        case Embed(inputs):
            vectors = [struct.pack("<4f", len(each), 3.0, 4.0, 0.0) for each in inputs]
            return {"vectors": [b64encode(each).decode() for each in vectors], "counts": [len(each) for each in inputs]}
        case Describe():
            return {"template": "{{ tools }}", "bos": "<s>", "eos": "</s>", "fill": True}


class Answer:
    """One request on its way."""

    def __init__(self, request: Request) -> None:
        self.request = request
        prompt = request.prompt
        text = spoken(prompt)
        self.told = dict(re.findall(r"(\w+)=(\S+)", text))
        self.words = int(self.told.get("words", 5))
        self.delay = float(self.told.get("delay", 0))
        texts = [message.content for message in prompt.messages] if isinstance(prompt, ChatPrompt) else [text]
        self.n_prompt = sum(len(each.split()) for each in texts)
        self.script = unquote(self.told.get("say", ""))
        self.cut = int(self.told.get("cut", 5))
        if self.script:
            self.words = -(-len(self.script) // self.cut)
        if request.proposed or request.begun:
            self.script = f"{request.proposed}BIG"
            self.words = -(-len(self.script) // self.cut)
            note("given", f"{request.begun!r}+{request.proposed!r}", str(request.tolerance))
        self.said = 0
        self.began = time.monotonic()
        self.first = 0.0
        self.due = self.began + float(self.told.get("prefill", 0))

    def start(self) -> bool:
        """False when it is over already."""
        if isinstance(self.request.prompt, FillPrompt) and self.told.get("fail") == "fill":
            refusal = errors.NotSupported("No tokens for that.", feature="fill")
            say(protocol.Happened(Failed(self.request.id, refusal.to_dict())))
            return False
        if self.told.get("fail") == "context":
            error = errors.ContextExceeded("The prompt is too long.", n_prompt_tokens=self.n_prompt, n_ctx=8)
            say(protocol.Happened(Failed(self.request.id, error.to_dict())))
            return False
        note("start", self.request.id)
        if "who" in self.told:
            note("client", self.request.client)
        say(
            protocol.Happened(Started(self.request.id, self.n_prompt, 1, opening=unquote(self.told.get("opening", ""))))
        )
        say(protocol.Happened(Progress(self.request.id, self.n_prompt, self.n_prompt, 1, 0.5)))
        return True

    def step(self) -> bool:
        """One word, when it is due. False when it is over."""
        if time.monotonic() < self.due:
            return True
        if self.said == int(self.told.get("at", 2)):
            self.suffer()
        limit = self.words if self.request.max_tokens is None else min(self.words, self.request.max_tokens)
        if self.said >= limit:
            self.finish(FinishReason.STOP if limit == self.words else FinishReason.LENGTH)
            return False
        self.first = self.first or time.monotonic()
        say(protocol.Happened(Delta(self.request.id, self.word(), 1, self.logprobs())))
        self.said += 1
        self.due = time.monotonic() + self.delay
        return True

    def word(self) -> str:
        if self.script:
            return self.script[self.said * self.cut :][: self.cut]
        if "echo" in self.told:
            return f"{getattr(self.request.sampling, self.told['echo'])} "
        if "big" in self.told:
            return "x" * int(self.told["big"])
        return f"w{self.said} "

    def logprobs(self) -> tuple[TokenLogprob, ...]:
        if self.request.sampling.logprobs is None:
            return ()
        if "sure" in self.told:
            return (TokenLogprob(self.said, b"w", -0.001, ((0, b"w", -0.001), (1, b"v", -7.0))),)
        top = tuple((i, b"t%d" % i, -1.0 - i) for i in range(self.request.sampling.logprobs))
        return (TokenLogprob(self.said, f"w{self.said} ".encode(), -0.5, top),)

    def suffer(self) -> None:
        if how := self.told.get("crash"):
            die(how)
        if code := self.told.get("exit"):
            os._exit(int(code))
        if self.told.get("hang") == "silent":
            silence.set()
            time.sleep(60)
        if self.told.get("hang") == "busy":
            busy.append(1e6)
            time.sleep(60)
        if noise := self.told.get("noise"):
            os.write(2, os.urandom(int(noise)))
        if "garbage" in self.told:
            OUT.write(b"\x04\x00\x00\x00oops")
        if self.told.get("fail") == "late":
            silence.clear()
            error = errors.InternalError("It failed late.")
            say(protocol.Happened(Failed(self.request.id, error.to_dict())))
            self.told.clear()
            self.words = -1

    def finish(self, reason: FinishReason) -> None:
        if self.words < 0:
            return
        now = time.monotonic()
        timings = Timings(
            cache_n=1,
            prompt_n=self.n_prompt - 1,
            prompt_ms=max(0.001, (self.first or now) - self.began) * 1e3,
            predicted_n=self.said,
            predicted_ms=max(0.001, now - (self.first or now)) * 1e3,
            kept_n=len(self.request.proposed) // self.cut,
        )
        note("finish", self.request.id)
        say(
            protocol.Happened(
                Finished(
                    self.request.id, reason, self.n_prompt, timings, exact=True, stop_string=self.told.get("stopped")
                )
            )
        )


silence = threading.Event()
busy: list[float] = []
commands: queue.Queue[protocol.Command | None] = queue.Queue()


def read() -> None:
    while (body := protocol.read_frame(sys.stdin.buffer)) is not None:
        commands.put(protocol.decode_command(body))
    # The server is gone; not even a worker that hangs stays.
    os._exit(0)


def beat() -> None:
    while not silence.wait(0.1):
        try:
            say(protocol.Beat(busy[0] if busy else 0.0, 0, 0))
        except OSError:
            return


def load(command: protocol.Load) -> int:
    """Slots of the model."""
    stem = Path(command.path).stem
    note("load", stem)
    if "slow" in stem:
        for step in range(5):
            say(protocol.Loading("reading", step / 5))
            time.sleep(0.1)
    if "crash" in stem:
        die("SIGABRT")
    if "mute" in stem:
        say(protocol.Beat(0.0, 0, 0))
        silence.set()
        time.sleep(60)
    if (tight := re.search(r"tight(\d+)", stem)) and (command.options.n_ctx or 4096) > int(tight.group(1)):
        say(protocol.LoadFailed(errors.InsufficientMemory("No context could be made: failed to allocate.").to_dict()))
        sys.exit(0)
    if "refused" in stem:
        say(protocol.LoadFailed(errors.ModelUnsupported("This build refuses the model.").to_dict()))
        sys.exit(0)
    n_slots = int(found.group(1)) if (found := re.search(r"slots(\d+)", stem)) else 2
    info = protocol.ModelInfo(
        architecture="fake", description="fake 1B", n_params=1, size=1, n_ctx=4096, n_ctx_train=8192, n_slots=n_slots,
        n_vocab=100, n_threads=1, kv_type="f16", exact_window=0, deterministic=command.options.deterministic,
        has_template=True, cache="KV blocks", memory=1, load_ms=1.0, build="fake",
    )  # fmt: skip
    say(protocol.Loaded(info))
    return n_slots


def main() -> None:
    threading.Thread(target=read, daemon=True).start()
    threading.Thread(target=beat, daemon=True).start()
    waiting: list[Answer] = []
    active: list[Answer] = []
    holds: set[str] = set()
    n_slots = 0
    while True:
        try:
            busy_ones = [answer for answer in active if answer.request.id not in holds]
            due = min((answer.due for answer in busy_ones), default=time.monotonic() + 1.0)
            pause = due - time.monotonic()
            command = commands.get(timeout=pause) if pause > 0 else commands.get_nowait()
        except queue.Empty:
            command = None
        match command:
            case protocol.Load():
                n_slots = load(command)
            case protocol.Submit(request):
                note("submit", request.id)
                waiting.append(Answer(request))
            case protocol.Forget(owner, drop):
                note("forget", f"{owner.tenant}/{owner.conversation}" if owner else "anybody", str(drop))
            case Ask(id=number, question=question):
                say(Told(number, answered(question)))
            case protocol.Hold(request_id, held):
                note("hold" if held else "go", request_id)
                (holds.add if held else holds.discard)(request_id)
            case protocol.Cancel(request_id):
                note("cancel", request_id)
                waiting = [answer for answer in waiting if answer.request.id != request_id]
                active = [answer for answer in active if answer.request.id != request_id]
        while waiting and len(active) < n_slots:
            if (answer := waiting.pop(0)).start():
                active.append(answer)
        active = [answer for answer in active if answer.request.id in holds or answer.step()]


if __name__ == "__main__":
    main()
