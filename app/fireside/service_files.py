"""What makes an operating system run the engine: files, and the commands that switch them on and off. Pure.

* systemd: a socket of the user's own that starts the engine with the first request, and lets it leave when idle.
* launchd, Task Scheduler: an engine that starts when the user logs in and stays.

Sources: systemd.socket(5), systemd.service(5), launchd.plist(5), and Microsoft's schema of tasks, version 1.2.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

NAME = "fireside"
LABEL = "app.fireside.engine"
IDLE_EXIT = 1800
"""Seconds after which an engine leaves that the next request starts again."""

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class File:
    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What `fireside service` does on one system."""

    kind: str
    files: tuple[File, ...]
    enable: tuple[Command, ...]
    disable: tuple[Command, ...]
    """Before the files are removed."""
    after: tuple[Command, ...]
    """After the files were removed."""
    state: Command
    """Says what the system knows of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An engine as it is to be run."""

    engine: Sequence[str]
    """Its command, without port and idle exit."""
    port: int
    environment: Mapping[str, str]
    """Variables that it needs, such as FIRESIDE_HOME."""


def systemd(wanted: Wanted, config: Path) -> Plan:
    """config: the user's, such as ~/.config."""
    folder = config / "systemd" / "user"
    command = [*wanted.engine, "--port", str(wanted.port), "--idle-exit", str(IDLE_EXIT)]
    socket = f"""\
[Unit]
Description=fireside, the local LLM engine: its address
Documentation=man:fireside(1)

[Socket]
ListenStream=127.0.0.1:{wanted.port}
ListenStream=[::1]:{wanted.port}

[Install]
WantedBy=sockets.target
"""
    lines = [f"Environment={_quoted(f'{name}={value}')}" for name, value in wanted.environment.items()]
    service = f"""\
[Unit]
Description=fireside, the local LLM engine
Documentation=man:fireside(1)
Requires={NAME}.socket
After={NAME}.socket

[Service]
ExecStart={" ".join(map(_quoted, command))}
{"".join(f"{line}{chr(10)}" for line in lines)}TimeoutStopSec=30
NoNewPrivileges=yes
"""
    control = ("systemctl", "--user")
    return Plan(
        "systemd",
        (
            File(folder / f"{NAME}.socket", socket.encode()),
            File(folder / f"{NAME}.service", service.encode()),
        ),
        ((*control, "daemon-reload"), (*control, "enable", "--now", f"{NAME}.socket")),
        ((*control, "disable", "--now", f"{NAME}.socket"), (*control, "stop", f"{NAME}.service")),
        ((*control, "daemon-reload"),),
        (*control, "status", "--no-pager", f"{NAME}.socket", f"{NAME}.service"),
    )


def launchd(wanted: Wanted, home: Path, uid: int, log: Path) -> Plan:
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    content = {
        "Label": LABEL,
        "ProgramArguments": [*wanted.engine, "--port", str(wanted.port), "--idle-exit", "0"],
        "EnvironmentVariables": dict(wanted.environment),
        "RunAtLoad": True,
        # An engine that was asked to leave, or that finds another one, stays away; one that crashed comes back.
        "KeepAlive": {"Crashed": True},
        "ProcessType": "Interactive",
        "StandardErrorPath": str(log),
    }
    domain = f"gui/{uid}"
    return Plan(
        "launchd",
        (File(path, plistlib.dumps(content)),),
        (("launchctl", "bootstrap", domain, str(path)),),
        (("launchctl", "bootout", f"{domain}/{LABEL}"),),
        (),
        ("launchctl", "print", f"{domain}/{LABEL}"),
    )


def task_scheduler(wanted: Wanted, folder: Path, user: str) -> Plan:
    """folder: where the definition is kept; the scheduler reads it once. A task has no variables of its own."""
    path = folder / "service.xml"
    command = [*wanted.engine, "--port", str(wanted.port), "--idle-exit", "0"]
    arguments = " ".join(map(windows_quoted, command[1:]))
    content = f"""\
<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>fireside, the local LLM engine</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled><UserId>{escape(user)}</UserId></LogonTrigger></Triggers>
  <Principals><Principal id="Author"><UserId>{escape(user)}</UserId>\
<LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel></Principal></Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="Author"><Exec><Command>{escape(command[0])}</Command>\
<Arguments>{escape(arguments)}</Arguments></Exec></Actions>
</Task>
"""
    return Plan(
        "Task Scheduler",
        (File(path, content.encode("utf-16")),),
        (("schtasks", "/Create", "/TN", NAME, "/XML", str(path), "/F"), ("schtasks", "/Run", "/TN", NAME)),
        (("schtasks", "/End", "/TN", NAME), ("schtasks", "/Delete", "/TN", NAME, "/F")),
        (),
        ("schtasks", "/Query", "/TN", NAME, "/V", "/FO", "LIST"),
    )


def _quoted(word: str) -> str:
    """One word of a systemd unit: specifiers and variables are text in it, and so are quotes."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def windows_quoted(word: str) -> str:
    """One word as `CommandLineToArgvW` reads it: backslashes count before a quote only."""
    if word and not any(character in word for character in ' \t"'):
        return word
    quoted = '"'
    slashes = 0
    for character in word:
        if character == "\\":
            slashes += 1
            continue
        quoted += "\\" * (2 * slashes + 1 if character == '"' else slashes) + character
        slashes = 0
    return quoted + "\\" * (2 * slashes) + '"'
