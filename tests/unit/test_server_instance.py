"""Who holds the lock and the port."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fireside_engine import address
from fireside_engine.server.instance import Lock, PortTaken, acquire, listen

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a+b")
fcntl.flock(file, getattr(fcntl, sys.argv[2]))
print("held", flush=True)
time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def runtime() -> Path:
    return address.make_private(address.runtime_dir())


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def hold(closing: ExitStack, how: str, seconds: float) -> None:
    """Another process has the lock."""
    command = [sys.executable, "-c", HOLD, str(address.lock_path()), how, str(seconds)]
    process = closing.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    closing.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def record(pid: int) -> address.EngineRecord:
    made = address.EngineRecord(pid, "127.0.0.1", 1, "0", 1)
    address.write_record(made)
    return made


def test_a_lock_is_free_again_after_release_and_after_death(runtime: Path, closing: ExitStack) -> None:
    lock, second = Lock(address.lock_path()), Lock(address.lock_path())
    assert lock.acquire()
    assert not second.acquire()
    assert second.holder() is not None
    lock.release()
    assert second.acquire()
    second.release()
    hold(closing, "LOCK_EX", 0.2)
    assert not lock.acquire()
    assert acquire(lock, 10.0) is None
    lock.release()


def test_the_record_of_a_dead_engine_is_removed_with_its_lock(runtime: Path) -> None:
    record(1)
    lock = Lock(address.lock_path())
    assert acquire(lock, 1.0) is None
    assert address.read_record() is None
    lock.release()


def test_a_living_engine_is_reported_by_its_record(runtime: Path, closing: ExitStack) -> None:
    hold(closing, "LOCK_EX", 30)
    address.lock_path().write_text("77")
    made = record(77)
    assert acquire(Lock(address.lock_path()), 10.0) == made


def test_an_engine_that_starts_is_waited_for_and_one_that_never_listens_is_not_for_ever(
    runtime: Path, closing: ExitStack
) -> None:
    hold(closing, "LOCK_EX", 30)
    address.lock_path().write_text("77")
    with pytest.raises(TimeoutError, match="pid 77"):
        acquire(Lock(address.lock_path()), 0.2)
    record(78)  # of the engine before
    announce = threading.Timer(0.2, record, [77])
    announce.start()
    found = acquire(Lock(address.lock_path()), 10.0)
    assert found is not None
    assert found.pid == 77
    announce.join()


def test_a_client_that_looks_at_the_lock_is_not_mistaken_for_an_engine(runtime: Path, closing: ExitStack) -> None:
    address.lock_path().write_text("77")
    record(77)
    hold(closing, "LOCK_SH", 0.05)
    lock = Lock(address.lock_path())
    assert acquire(lock, 10.0) is None
    lock.release()


def test_ports(closing: ExitStack) -> None:
    first = listen("127.0.0.1", 0)
    for made in first:
        closing.callback(made.close)
    port = first[0].getsockname()[1]
    assert {made.getsockname()[1] for made in first} == {port}
    with pytest.raises(PortTaken, match=f"Port {port} is taken by .*--port N"):
        listen("127.0.0.1", port)
    other = listen("127.0.0.1", port, or_any=True)
    for made in other:
        closing.callback(made.close)
    assert other[0].getsockname()[1] != port
    with pytest.raises(OSError, match=r"."):
        listen("192.0.2.1", 0)


def test_a_port_is_ours_on_both_addresses_or_on_none(closing: ExitStack) -> None:
    try:
        foreign = closing.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    except OSError:
        pytest.skip("this machine has no ::1")
    with pytest.raises(PortTaken):
        listen("127.0.0.1", foreign.getsockname()[1])


def test_two_threads_cannot_both_have_it(runtime: Path) -> None:
    locks = [Lock(address.lock_path()) for _ in range(8)]
    results: list[bool] = []
    threads = [threading.Thread(target=lambda lock=lock: results.append(lock.acquire())) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    for lock in locks:
        lock.release()
