"""Processes of models: they load on demand, share memory, leave when idle, and take nobody with them when they die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_engine import FakePlanner, Opened, Reply, Running, events, gone, running, text_of, until, write_model
from fireside_engine.core.footprint import HOST, DeviceBytes, Footprint, Setup
from fireside_engine.server.granting import NOTHING, Grant


@pytest.fixture
def journal(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home / "journal"
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(path))
    return path


@pytest.fixture
def engine(journal: Path) -> Iterator[Running]:
    write_model("small")
    write_model("other")
    with running(journal, back_off=(0.0, 0.2), broken_for=60.0) as engine:
        yield engine


def together(*asks: Any) -> list[Reply]:
    """The replies to calls made at once."""
    replies: dict[int, Reply] = {}

    def run(index: int) -> None:
        replies[index] = asks[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [replies[index] for index in range(len(asks))]


# --- deaths


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_a_crash_costs_its_own_requests_a_clear_error_and_nothing_else(engine: Running, how: str) -> None:
    assert engine.chat("words=1", model="other").status == 200
    neighbour = engine.begin_chat("words=40 delay=0.02", "other", stream=True)
    before = engine.status()["pid"]
    reply = engine.chat(f"words=9 crash={how} at=3", stream=True)
    *chunks, last = events(reply.body)
    assert text_of(chunks) == "w0 w1 w2 "
    assert last["error"]["code"] == "worker_crashed"
    assert last["error"]["signal"] == how
    assert last["error"]["log"] == [f"fake worker: about to die of {how}"]
    assert engine.model()["state"] == "failed"

    assert engine.chat("words=2").json["choices"][0]["message"]["content"] == "w0 w1 "
    assert engine.status()["pid"] == before == os.getpid()
    assert text_of(events(neighbour.read())) == "".join(f"w{n} " for n in range(40))

    whole = engine.chat(f"crash={how}")
    assert whole.status == 502
    assert whole.json["error"]["message"] == f"The process of small died ({how})."


def test_all_requests_of_a_worker_that_dies_hear_of_it(engine: Running) -> None:
    engine.chat("words=1")
    asks = [lambda: engine.chat("words=500 delay=0.01") for _ in range(4)]
    killer = threading.Timer(0.3, lambda: os.kill(engine.model()["pid"], signal.SIGKILL))
    killer.start()
    assert {(reply.status, reply.json["error"]["code"]) for reply in together(*asks)} == {(502, "worker_crashed")}
    killer.join()


def test_a_process_that_just_leaves_is_a_crash_with_its_status(engine: Running) -> None:
    error = engine.chat("exit=3").json["error"]
    assert (error["code"], error["exit_status"]) == ("worker_crashed", 3)


def test_garbage_in_the_pipe_ends_the_process(engine: Running) -> None:
    error = engine.chat("garbage=1").json["error"]
    assert error["code"] == "worker_crashed"
    assert "oops" not in str(error)
    assert engine.chat("words=1").status == 200


def test_noise_on_stderr_harms_nobody(engine: Running) -> None:
    assert engine.chat("words=3 noise=300000 at=1").status == 200


def test_back_off_grows_with_crashes_in_a_row_and_an_answer_ends_it(engine: Running) -> None:
    engine.chat("crash=SIGKILL")
    engine.chat("crash=SIGKILL")
    began = time.monotonic()
    assert engine.chat("words=1").json["fireside"]["load_ms"] >= 190
    assert time.monotonic() - began >= 0.19
    engine.chat("crash=SIGKILL")
    assert engine.chat("words=1").status == 200


@pytest.mark.parametrize("how", ["silent", "busy"])
def test_a_worker_that_hangs_is_ended_and_its_requests_fail(journal: Path, how: str) -> None:
    write_model("small")
    with running(journal, beat_timeout=0.8, stop_grace=0.3) as engine:
        engine.chat("words=1")
        pid = engine.model()["pid"]
        *chunks, last = events(engine.chat(f"words=9 hang={how} at=2", stream=True).body)
        assert text_of(chunks) == "w0 w1 "
        assert last["error"]["code"] == "worker_hung"
        assert gone(pid)
        assert engine.chat("words=1").status == 200


def test_workers_leave_when_the_engine_is_gone(engine: Running) -> None:
    engine.chat("words=1")
    engine.chat("words=1", model="other")
    pids = [model["pid"] for model in engine.status()["models"]]
    assert engine.ask("POST", "/fireside/stop", owner=True).json == {"stopping": True}
    until(lambda: all(gone(pid) for pid in pids))


# --- loads


def test_concurrent_requests_share_one_load(engine: Running) -> None:
    write_model("slow")
    replies = together(*[lambda: engine.chat("words=2", model="slow")] * 6)
    assert {reply.status for reply in replies} == {200}
    assert len(engine.noted("load")) == 1
    assert engine.model("slow")["state"] == "ready"


def test_a_load_outlives_the_client_that_asked_first(engine: Running) -> None:
    write_model("slow")
    first = engine.send_chat("words=1", "slow")
    until(lambda: (engine.model("slow") or {}).get("state") == "loading")
    second = engine.send_chat("words=1", "slow")
    first.close()
    with Opened(second, second.getresponse()) as opened:
        assert opened.response.status == 200
    assert len(engine.noted("load")) == 1
    assert len(engine.noted("submit")) == 1


def test_what_the_worker_says_of_a_file_reaches_all_who_wait(engine: Running) -> None:
    write_model("refused-slow")
    replies = together(*[lambda: engine.chat("words=1", model="refused-slow")] * 3)
    assert {(reply.status, reply.json["error"]["code"]) for reply in replies} == {(422, "model_unsupported")}
    assert engine.model("refused-slow")["error"]["code"] == "model_unsupported"
    load = engine.ask("POST", "/fireside/load", {"model": "refused-slow"}, owner=True)
    assert load.json["error"]["message"] == "This build refuses the model."


def test_a_file_that_crashes_its_loader_is_left_alone_until_it_changes(engine: Running) -> None:
    path = write_model("crash")
    messages = [engine.chat("words=1", model="crash").json["error"]["message"] for _ in range(4)]
    assert messages[:3] == ["The process of crash died (SIGABRT)."] * 3
    assert messages[3].startswith("crash crashes its process whenever it is loaded")
    assert len(engine.noted("load")) == 3
    os.utime(path, ns=(1, 1))
    assert engine.chat("words=1", model="crash").json["error"]["message"] == messages[0]
    assert engine.chat("words=1").status == 200


def test_a_load_without_a_sign_of_life_ends(journal: Path) -> None:
    write_model("mute")
    with running(journal, beat_timeout=0.5, start_grace=20.0, stop_grace=0.3) as engine:
        assert engine.chat("words=1", model="mute").json["error"]["code"] == "worker_hung"


def test_a_file_that_vanished_or_is_no_model(engine: Running) -> None:
    path = write_model("brief")
    assert engine.chat("words=1", model="brief").status == 200
    path.unlink()
    assert engine.chat("words=1", model="brief").json["error"]["code"] == "model_not_found"
    path.write_bytes(b"not a model at all")
    assert engine.chat("words=1", model="brief").json["error"]["code"] == "not_a_model"


def test_a_replaced_file_is_another_model_and_the_old_process_leaves(engine: Running) -> None:
    path = write_model("small")
    engine.chat("words=1")
    old = engine.model()["pid"]
    os.utime(path, ns=(1, 1))
    assert engine.chat("words=1").status == 200
    assert engine.model()["pid"] != old
    until(lambda: gone(old))


def test_a_file_anywhere_can_be_registered_by_the_owner(engine: Running, tmp_path: Path) -> None:
    path = write_model("elsewhere").rename(tmp_path / "elsewhere.gguf")
    assert engine.chat("words=1", model="elsewhere").status == 404
    name = engine.ask("POST", "/fireside/register", {"path": str(path)}, owner=True).json["name"]
    assert engine.chat("words=1", model=name).json["model"] == name
    (tmp_path / "text.gguf").write_text("text")
    for bad, code in (("text.gguf", "not_a_model"), ("nothing.gguf", "model_not_found")):
        reply = engine.ask("POST", "/fireside/register", {"path": str(tmp_path / bad)}, owner=True)
        assert reply.json["error"]["code"] == code
    assert engine.ask("POST", "/fireside/register", {"path": ""}, owner=True).status == 400


# --- keep_alive and memory


def test_idle_models_unload_when_their_time_is_over(journal: Path) -> None:
    write_model("small")
    with running(journal, keep_alive=0.3) as engine:
        engine.chat("words=1")
        pid = engine.model()["pid"]
        until(lambda: engine.model() is None)
        until(lambda: gone(pid))
        assert engine.chat("words=1").status == 200


def test_a_request_says_how_long_its_model_stays(engine: Running) -> None:
    assert engine.chat("words=1", keep_alive="5m").status == 200
    assert 290 <= engine.model()["keep_alive_s_left"] <= 300
    engine.chat("words=1")
    assert engine.model()["keep_alive_s_left"] <= 300
    engine.chat("words=1", keep_alive=-1)
    assert engine.model()["keep_alive_s_left"] == -1
    pid = engine.model()["pid"]
    opened = engine.begin_chat("words=20 delay=0.02", stream=True, keep_alive=0)
    assert engine.model()["keep_alive_s_left"] is None
    assert text_of(events(opened.read())).count("w") == 20
    until(lambda: engine.model() is None and gone(pid))


def test_the_owner_loads_and_unloads(engine: Running) -> None:
    loaded = engine.ask("POST", "/fireside/load", {"model": "small", "keep_alive": 60}, owner=True).json
    assert loaded["model"] == "small"
    assert loaded["info"]["n_ctx"] == 4096
    model = engine.model()
    assert (model["state"], model["active"], model["waiting"]) == ("ready", 0, 0)
    assert model["rss"] > 0
    opened = engine.begin_chat("words=30 delay=0.02", stream=True)
    assert engine.model()["active"] == 1
    assert engine.ask("POST", "/fireside/unload", {"model": "small"}, owner=True).json["unloaded"] is False
    assert text_of(events(opened.read())).count("w") == 30
    until(lambda: engine.model() is None)
    assert engine.ask("POST", "/fireside/unload", {"model": "small"}, owner=True).json["unloaded"] is True


def test_idle_models_make_room_and_busy_ones_do_not(journal: Path) -> None:
    """A machine with room for two models of this size."""
    for name in ("a", "b", "c", "d"):
        write_model(name, weights=1024)
    loaded: Any = None

    def free() -> int:
        count = len([r for r in loaded.residents if r.handle is not None and r.state == "ready"])
        return 2 * 2000 - count * 1800

    with running(journal, planner=lambda: FakePlanner(free)) as engine:
        assert engine.server is not None
        loaded = engine.server.engine.supervisor
        for name in ("a", "b", "c"):
            assert engine.chat("words=1", model=name).status == 200
        assert {model["name"] for model in engine.status()["models"]} == {"b", "c"}
        busy = [engine.begin_chat("words=200 delay=0.02", name, stream=True) for name in ("b", "c")]
        error = engine.chat("words=1", model="d").json["error"]
        assert error["code"] == "insufficient_memory"
        assert error["type"] == "unavailable_error"
        assert error["need"] > error["free"] >= 0
        busy[0].close()
        until(lambda: engine.model("b")["active"] == 0)
        assert engine.chat("words=1", model="d").status == 200
        assert {model["name"] for model in engine.status()["models"]} == {"c", "d"}
        busy[1].close()


class Card(FakePlanner):
    """A graphics card with room for one of the models; what does not fit there goes to main memory, slowly."""

    supervisor: Any = None

    def plan(self, path: Path, options: Any, free_more: Any = NOTHING, **_: Any) -> Grant:
        need = path.stat().st_size
        ready = [r for r in self.supervisor.residents if r.state == "ready" and r.grant is not None]
        used = sum(resident.grant.footprint.on("GPU").total for resident in ready)
        on_card = need <= int(1.5 * need) - used + free_more.get("GPU", 0)
        place = DeviceBytes("GPU" if on_card else HOST, weights=need)
        return Grant(options, Footprint((place,)), Setup(4096, gpu_layers=-1 if on_card else 0))


def test_an_idle_model_leaves_the_card_to_the_one_that_is_asked_for(journal: Path) -> None:
    """Main memory had room for both, so the second used to be computed by the processor."""
    for name in ("one", "two", "three"):
        write_model(name, weights=1024)
    planner = Card()
    with running(journal, planner=lambda: planner) as engine:
        assert engine.server is not None
        planner.supervisor = engine.server.engine.supervisor
        assert engine.chat("words=1", model="one").status == 200
        assert engine.chat("words=1", model="two").status == 200
        assert {model["name"] for model in engine.status()["models"]} == {"two"}
        busy = engine.begin_chat("words=200 delay=0.02", "two", stream=True)
        assert engine.chat("words=1", model="three").status == 200
        assert {model["name"] for model in engine.status()["models"]} == {"two", "three"}
        busy.close()


def test_what_does_not_fit_is_refused_before_a_process_starts(journal: Path) -> None:
    write_model("big", weights=4096)
    with running(journal, planner=lambda: FakePlanner(lambda: 1000)) as engine:
        error = engine.chat("words=1", model="big").json["error"]
        assert error["code"] == "insufficient_memory"
        assert error["missing"] > 0
        assert not engine.noted("load")
        # The owner may load it all the same, and is told so.
        assert engine.ask("POST", "/fireside/load", {"model": "big", "force": True}).status == 401
        forced = engine.ask("POST", "/fireside/load", {"model": "big", "force": True}, owner=True)
        assert forced.json["note"] == "Loaded by force."
        assert engine.model("big")["note"] == "Loaded by force."
        assert engine.chat("words=1", model="big").status == 200


def test_an_allocation_that_fails_steps_down_at_most_twice(journal: Path) -> None:
    for name in ("tight4096", "tight2048", "tight1024", "tight512"):
        write_model(name)
    with running(journal) as engine:
        for name, steps, note in (("tight4096", 1, ""), ("tight2048", 2, "2048"), ("tight1024", 3, "1024")):
            loaded = engine.ask("POST", "/fireside/load", {"model": name}, owner=True).json
            assert note in loaded["note"]
            assert bool(loaded["note"]) == bool(note)
            assert len([line for line in engine.noted("load") if name in line]) == steps
            assert engine.model(name)["note"] == loaded["note"]
        error = engine.chat("words=1", model="tight512").json["error"]
        assert (error["code"], error["message"]) == (
            "insufficient_memory",
            "No context could be made: failed to allocate.",
        )
        assert len([line for line in engine.noted("load") if "tight512" in line]) == 3
        assert engine.chat("words=1", model="tight4096").status == 200


def test_the_planner_hears_of_loads_and_of_long_answers(journal: Path) -> None:
    planners: list[FakePlanner] = []

    def planner() -> FakePlanner:
        planners.append(FakePlanner())
        return planners[0]

    write_model("small")
    with running(journal, planner=planner) as engine:
        engine.chat("words=30")
        until(lambda: ("answered", "small") in planners[0].learned)
        assert planners[0].learned[0] == ("loaded", "small")
        assert engine.model()["predicted"] > 0
        heard = len(planners[0].learned)
        engine.chat("words=3")
        assert len(planners[0].learned) == heard


# --- overload


def test_too_many_waiting_requests_are_turned_away_at_once(journal: Path) -> None:
    write_model("slots1")
    with running(journal, max_waiting=2) as engine:
        engine.chat("words=1", model="slots1")
        held = [engine.send_chat("words=100 delay=0.02", "slots1") for _ in range(3)]
        until(lambda: engine.model("slots1")["waiting"] == 2)
        for fields in ({}, {"stream": True}):
            reply = engine.chat("words=1", model="slots1", **fields)
            assert reply.status == 429
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            assert reply.json["error"]["code"] == "overloaded"
        assert engine.chat("words=1", model="slots1", n=8).status == 429
        for connection in held:
            connection.close()
        until(lambda: engine.model("slots1")["waiting"] == 0)
        assert engine.chat("words=1", model="slots1").status == 200
