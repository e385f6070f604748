"""Exit codes are part of the interface: scripts branch on them. `fireside --help` prints these sentences."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    ENGINE = 3
    MODEL = 4
    CONTEXT = 5
    TIMEOUT = 124
    INTERRUPTED = 130
    PIPE_CLOSED = 141

    @property
    def sentence(self) -> str:
        """What the code says, for `--help`."""
        return _SENTENCES[self]


_SENTENCES = {
    ExitCode.OK: "done; the answer is complete",
    ExitCode.FAILED: "the generation failed, its answer violates --schema, or doctor or verify found something broken",
    ExitCode.USAGE: "the command, the configuration or the request is not valid",
    ExitCode.ENGINE: "the engine cannot be reached, died, or takes no more requests now; trying again may help",
    ExitCode.MODEL: "the model is not installed, cannot be fetched, is no GGUF, is not supported, or does not fit",
    ExitCode.CONTEXT: "the prompt does not fit the model's context",
    ExitCode.TIMEOUT: "the time of --timeout passed",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
    ExitCode.PIPE_CLOSED: "the reader of standard output went away",
}
