"""Bytes of tokens to text that never holds half a character."""

from __future__ import annotations

import codecs


class Detokenizer:
    """Incremental UTF-8: bytes of an unfinished character wait for their rest.

    Invalid bytes become U+FFFD. Bytes that still wait when the answer ends are dropped: the character they began was
    never finished, so it was never part of the text.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, piece: bytes) -> str:
        """The text that `piece` completes; possibly empty."""
        return self._decoder.decode(piece)
