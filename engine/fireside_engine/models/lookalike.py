"""What a file that is no GGUF most likely is, in words: the reason decides what its owner should do."""

from __future__ import annotations

import struct

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", "Unpack it, or look for a GGUF version of the model."),
    (b"version https://git-lfs", "a Git LFS pointer", "Run `git lfs pull`, or download the file itself."),
    (b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (b"\xfd7zXZ\x00", "an xz archive", "Unpack it first."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it first."),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first."),
    (b"lmgg", "a GGML file from before GGUF", "Look for a GGUF version of the model."),
    (b"fmgg", "a GGML file from before GGUF", "Look for a GGUF version of the model."),
    (b"tjgg", "a GGML file from before GGUF", "Look for a GGUF version of the model."),
    (b"\x89HDF", "an HDF5 file", "Look for a GGUF version of the model."),
    (b"\x7fELF", "a program", ""),
    (b"FUGG", "a GGUF file in reversed byte order", "Look for a little-endian version of the model."),
)
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_SAFETENSORS_HEADER = 100 * 1024 * 1024
_AGAIN = "Download it again."
_WEB_PAGE = (
    "The download gave a web page instead of the file: use the download link, signed in if the site asks for it."
)


def describe_start(start: bytes) -> tuple[str, str]:
    """(what it looks like, what to do) from the first bytes of a file that does not begin like a GGUF."""
    if not start:
        return "it is empty", _AGAIN
    for magic, what, advice in _STARTS:
        if start.startswith(magic):
            return f"it looks like {what}", advice
    if not start.strip(b"\0"):
        return "it begins with zeros", f"The download kept room for it but did not fill it. {_AGAIN}"
    if start.startswith(_PICKLES):
        return "it looks like a PyTorch checkpoint", "Look for a GGUF version of the model."
    if len(start) > 8 and start[8:9] == b"{" and struct.unpack_from("<Q", start)[0] <= _SAFETENSORS_HEADER:
        return "it looks like a safetensors file", "Look for a GGUF version of the model."
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "it looks like a web page", _WEB_PAGE
    if text.startswith((b"{", b"[")):
        return "it looks like JSON", f"It may be an error message of the server. {_AGAIN}"
    if text and all(9 <= byte < 127 for byte in text):
        return "it looks like text", _AGAIN
    return "it does not begin like one", ""
