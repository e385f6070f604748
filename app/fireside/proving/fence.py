"""What a program of a model may not do, set up in its own process before it begins. Linux keeps it; Python adds to it.

Used by `fenced_child.py` only. The kernel's limits for time, memory and files hold everywhere. On Linux, Landlock keeps
writing inside one directory, and a seccomp filter refuses sockets, both inherited by every child. Where they are not to
be had, the audit hook of Python alone keeps Python programs from sockets, other programs and files outside.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WRITES = 0b1_1111_1111_0010
"""Landlock's rights of version 1, without execute, read_file and read_dir."""
_MACHINES = {"x86_64": (0xC000003E, (41, 425)), "aarch64": (0xC00000B7, (198, 425))}
"""By machine: the audit architecture, and the numbers of socket and io_uring_setup, which can make sockets too."""
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050001, 0x80000000
_FORBIDDEN = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.kill",
    "os.startfile", "ctypes.", "pty.spawn", "webbrowser.", "urllib.", "ftplib.", "smtplib.",
)  # fmt: skip
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink",
            "os.truncate", "shutil.")  # fmt: skip


def limit(cpu_s: int, memory: int, file_bytes: int) -> None:
    """Limits of this process and its children: seconds of computing, bytes of memory and of a written file."""
    for kind, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (allowed, allowed))
        except (ValueError, OSError):
            # macOS refuses limits of the address space; its other limits hold.
            if kind != resource.RLIMIT_AS:
                raise


def shut_in(directory: Path) -> bool:
    """Refuse writing outside `directory`, and sockets, by the kernel. Whether both hold."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    writes_refused = _restrict_writing(libc, directory)
    return _refuse_sockets(libc) and writes_refused


def _restrict_writing(libc: ctypes.CDLL, directory: Path) -> bool:
    attributes = ctypes.create_string_buffer(struct.pack("<Q", _WRITES), 8)
    ruleset = libc.syscall(_LANDLOCK_CREATE, attributes, 8, 0)
    if ruleset < 0:
        return False
    inside = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
    try:
        write_file = 1 << 1
        for descriptor, rights in ((inside, _WRITES), (null, write_file)):
            rule = ctypes.create_string_buffer(struct.pack("<Qi", rights, descriptor), 12)
            if libc.syscall(_LANDLOCK_ADD, ruleset, 1, rule, 0) != 0:
                return False
        return bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    finally:
        for descriptor in (ruleset, inside, null):
            os.close(descriptor)


def _refuse_sockets(libc: ctypes.CDLL) -> bool:
    """A filter of classic BPF: another architecture is killed, numbers of x32 and those of sockets are refused."""
    architecture, refused = _MACHINES[platform.machine()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, _KILL), (load, 0, 0, 0)]
    tests = [(equal, number) for number in refused]
    if platform.machine() == "x86_64":
        tests.append((at_least, 0x40000000))
    for at, (code, number) in enumerate(tests):
        # A hit jumps over the remaining tests and the permission.
        program.append((code, len(tests) - at, 0, number))
    program += [(give, 0, 0, _ALLOW), (give, 0, 0, _DENY)]
    packed = b"".join(struct.pack("<HBBI", *line) for line in program)
    lines = ctypes.create_string_buffer(packed, len(packed))
    header = ctypes.create_string_buffer(struct.pack("<H6xQ", len(program), ctypes.addressof(lines)), 16)
    return bool(libc.prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0) == 0)


def watch(directory: Path) -> None:
    """Refuse, inside Python, sockets, other programs, and changes of files outside `directory`. It cannot be undone."""
    inside = str(directory.resolve())
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is not allowed here")
        changes = event.startswith(_CHANGES)
        if event == "open":
            changes = isinstance(args[2], int) and bool(args[2] & writing)
        if changes and args and isinstance(args[0], str | bytes | os.PathLike):
            # Not Path.resolve: it would load modules from inside the hook.
            path = os.path.realpath(os.fsdecode(args[0]))
            if path != os.devnull and os.path.commonpath([path, inside]) != inside:
                raise PermissionError(f"{path} lies outside")

    sys.addaudithook(hook)
