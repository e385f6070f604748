"""`auto`: several models that answer as one, over HTTP, with fake workers."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fake_engine import Running, chat_body, events, running, text_of, until, write_model
from fireside_engine import address


def configure(text: str) -> None:
    path = address.config_dir() / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


ROSTER = '[auto]\nroster = ["little", "big"]\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIRESIDE_HOME", str(tmp_path))
    monkeypatch.setenv("FAKE_WORKER_JOURNAL", str(tmp_path / "journal"))
    write_model("little")
    write_model("big", 256)
    configure(ROSTER)
    return tmp_path


@pytest.fixture
def engine(home: Path) -> Iterator[Running]:
    with running(home / "journal") as engine:
        yield engine


def route(reply: Any) -> Any:
    return reply.json["timings"]["route"]


def test_a_small_answer_that_is_sure_stays(engine: Running) -> None:
    reply = engine.chat("words=20 sure=1", "auto")
    assert reply.json["choices"][0]["message"]["content"] == "".join(f"w{i} " for i in range(20))
    assert reply.json["choices"][0]["logprobs"] is None, "nobody asked for them"
    found = route(reply)
    assert (found["tier"], found["escalated"], found["proof"]) == ("little", False, "none")
    assert found["doubt"] < 0.05
    assert "no proof yet" in found["reason"]
    assert reply.json["fireside"]["route"] == "little"
    assert set(found["price"]) == {"little", "big"}


def test_a_doubtful_answer_is_read_and_continued_by_the_large_model(engine: Running) -> None:
    reply = engine.chat("words=20", "auto", fireside={"route": {"tolerance": 0.3}})
    found = route(reply)
    assert (found["tier"], found["escalated"]) == ("big", True)
    assert found["doubt"] > found["threshold"]
    # The first look is after 8 tokens.
    assert reply.json["choices"][0]["message"]["content"] == "".join(f"w{i} " for i in range(8)) + "BIG"
    assert "was in doubt" in found["reason"]
    (given,) = engine.noted("given")
    assert given.split()[-2] == "0.3"
    assert set(found["seconds"]) == {"little", "big"}


def test_regenerating_gives_nothing_away(engine: Running) -> None:
    reply = engine.chat("words=20", "auto", fireside={"route": {"escalate": "regenerate"}})
    assert reply.json["choices"][0]["message"]["content"] == "".join(f"w{i} " for i in range(20))
    assert route(reply)["tier"] == "big"
    assert not engine.noted("given")


def test_a_stream_never_takes_a_word_back(engine: Running) -> None:
    body = chat_body("words=30 sure=1", "auto", stream=True)
    chunks = events(engine.ask("POST", "/v1/chat/completions", body).body)
    assert text_of(chunks) == "".join(f"w{i} " for i in range(30))
    body = chat_body("words=30", "auto", stream=True, fireside={"route": {"threshold": 0.5}})
    chunks = events(engine.ask("POST", "/v1/chat/completions", body).body)
    assert text_of(chunks) == "".join(f"w{i} " for i in range(8)) + "BIG"
    (last,) = [chunk for chunk in chunks if chunk != "[DONE]" and chunk.get("timings")]
    assert last["timings"]["route"]["escalated"]


def test_a_forced_tier_tells_its_doubt_and_is_not_escalated(engine: Running) -> None:
    reply = engine.chat("words=20", "auto", fireside={"route": {"tier": "little", "threshold": 0.0}})
    found = route(reply)
    assert (found["tier"], found["escalated"]) == ("little", False)
    assert found["doubt"] > 0.5
    wrong = engine.chat("words=2", "auto", fireside={"route": {"tier": "nobody"}})
    assert wrong.status == 400
    assert "little, big" in wrong.json["error"]["message"] + str(wrong.json["error"])


def test_exact_is_the_large_model_alone(engine: Running) -> None:
    reply = engine.chat("words=4", "auto", fireside={"route": {"mode": "exact", "tolerance": 0.9}})
    assert (route(reply)["tier"], route(reply)["tolerance"]) == ("big", 0.0)
    assert engine.model("little") is None, "the small model was loaded for nothing"


def test_all_models_of_this_machine_are_loaded_and_have_their_own_names(engine: Running) -> None:
    assert engine.ask("POST", "/fireside/load", {"model": "auto"}, owner=True).json["model"] == "auto"
    assert sorted(model["name"] for model in engine.status()["models"]) == ["big", "little"]


def test_log_probabilities_are_those_that_were_asked_for(engine: Running) -> None:
    reply = engine.chat("words=3 sure=1", "auto", logprobs=True, top_logprobs=1)
    content = reply.json["choices"][0]["logprobs"]["content"]
    assert [len(entry["top_logprobs"]) for entry in content] == [1, 1, 1]


def test_every_dialect_knows_auto(engine: Running) -> None:
    prompt = [{"role": "user", "content": "words=2 sure=1"}]
    for path, body in (
        ("/v1/messages", {"model": "auto", "max_tokens": 20, "messages": prompt}),
        ("/api/chat", {"model": "auto", "messages": prompt, "stream": False}),
        ("/api/generate", {"model": "auto", "prompt": "words=2 sure=1", "stream": False}),
        ("/v1/responses", {"model": "auto", "input": "words=2 sure=1"}),
        ("/v1/completions", {"model": "auto", "prompt": "words=2 sure=1"}),
        ("/completion", {"model": "auto", "prompt": "words=2 sure=1"}),
        ("/v1/completions", {"model": "auto", "prompt": "words=2", "n": 2}),
    ):
        reply = engine.ask("POST", path, body)
        assert reply.status == 200, (path, reply.body)
        assert b"w0 w1" in reply.body, (path, reply.body)
    names = [model["id"] for model in engine.ask("GET", "/v1/models").json["data"]]
    assert {"auto", "big", "little"} <= set(names)


def test_a_loop_of_tools_stays_with_the_large_model(engine: Running) -> None:
    ask = {"role": "user", "content": "words=20"}
    first = engine.ask("POST", "/v1/chat/completions", {"model": "auto", "messages": [ask]})
    assert route(first)["tier"] == "big"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    loop = [
        ask,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "words=3 sure=1"},
    ]
    second = engine.ask("POST", "/v1/chat/completions", {"model": "auto", "messages": loop})
    assert route(second)["tier"] == "big"
    assert "never goes down" in route(second)["reason"]


# --- what is kept


def test_why_and_stats_tell_of_it_and_keep_no_words(engine: Running, home: Path) -> None:
    secret = "heliotrope"
    reply = engine.chat(f"words=12 sure=1 {secret}", "auto")
    engine.chat("words=2", "big")
    name = reply.json["id"]

    def why() -> Any:
        found = engine.ask("GET", f"/fireside/routing/why?id={name[-8:]}", owner=True)
        return found.json if found.status == 200 else None

    told = until(why)
    assert told["id"] == name
    assert told["route"]["tier"] == "little"
    last = until(lambda: (w := engine.ask("GET", "/fireside/routing/why", owner=True).json)["model"] == "big" and w)
    assert "route" not in last
    stats = engine.ask("GET", "/fireside/routing/stats", owner=True).json
    assert (stats["answers"], stats["routed"]) == (2, 1)
    assert set(stats["tiers"]) == {"little", "big"}
    assert set(stats["saved"]) == {"quantization", "kv", "drafts", "routing"}
    file = address.data_dir() / "routing.sqlite3"
    assert secret.encode() not in file.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert engine.ask("GET", "/fireside/routing/why?id=%25", owner=True).status == 404
    assert engine.ask("GET", "/fireside/routing/stats?since=x", owner=True).status == 400
    assert engine.ask("DELETE", "/fireside/routing/trace", owner=True).json == {"forgotten": 2}
    assert engine.ask("GET", "/fireside/routing/why", owner=True).status == 404


def test_answers_that_are_not_to_be_saved_do_not_count(engine: Running) -> None:
    engine.chat("words=12 sure=1", "auto", fireside={"save": False})
    engine.chat("words=12 sure=1", "auto")

    def stats() -> Any:
        return engine.ask("GET", "/fireside/routing/stats", owner=True).json

    until(lambda: stats()["answers"])
    assert stats()["answers"] == 1


def test_a_proof_changes_what_stays_small_and_can_be_forgotten(engine: Running) -> None:
    shown = engine.ask("GET", "/fireside/routing", owner=True).json
    assert [tier["name"] for tier in shown["roster"]] == ["little", "big"]
    assert shown["proof"] is None
    proof = {
        "version": 1,
        "identities": [tier["identity"] for tier in shown["roster"]],
        "made": "2026-11-24",
        "n": 90,
        "thresholds": {"balanced": {"threshold": 0.95, "tolerance": 0.1}},
    }
    put = engine.ask("PUT", "/fireside/routing/proof", proof, owner=True)
    assert put.status == 200, put.body
    found = route(engine.chat("words=20", "auto"))
    assert (found["tier"], found["proof"]) == ("little", put.json["proof"]["id"])
    assert "90 prompts" in found["reason"]
    other = {**proof, "identities": ["x", "y"]}
    assert engine.ask("PUT", "/fireside/routing/proof", other, owner=True).status == 400
    assert engine.ask("DELETE", "/fireside/routing/proof", owner=True).json == {"forgotten": True}
    assert route(engine.chat("words=20", "auto"))["tier"] == "big"


def test_strangers_cannot_change_what_is_proved(home: Path) -> None:
    with running(home / "journal", api_key="key-of-a-stranger") as engine:
        headers = {"Authorization": "Bearer key-of-a-stranger"}
        for method, path in (
            ("GET", "/fireside/routing"),
            ("PUT", "/fireside/routing/proof"),
            ("GET", "/fireside/routing/shadows"),
            ("GET", "/fireside/routing/why"),
        ):
            assert engine.ask(method, path, {}, headers=headers).status in (401, 403), path


def test_a_roster_that_cannot_be_is_refused_in_words(engine: Running) -> None:
    for text, words in (
        ('[auto]\nroster = ["little"]\n', "two models or more"),
        ('[auto]\nroster = ["little", "little"]\n', "twice"),
        ('[auto]\nroster = ["little", "nobody"]\n', "auto.roster"),
        ('[auto]\nroster = ["little", "auto"]\n', "part of itself"),
        ('[auto]\nroster = ["little", "big"]\nrules = [{tier = "huge"}]\n', "huge"),
        ('[auto]\nmode = "quick"\n', "auto.mode"),
    ):
        configure(text)
        reply = engine.chat("words=2", "auto")
        assert reply.status in (400, 404)
        assert words in reply.json["error"]["message"], reply.json


# --- shadows


def test_a_sample_of_small_answers_is_answered_by_the_large_model_in_idle_time(home: Path) -> None:
    configure(ROSTER + "shadow = 1.0\n")
    with running(home / "journal", shadow_idle=0.2) as engine:
        reply = engine.chat("words=12 sure=1", "auto")
        engine.chat("words=12 sure=1", "auto", fireside={"save": False})

        def shadows() -> Any:
            return engine.ask("GET", "/fireside/routing/shadows", owner=True).json["shadows"]

        # Asking is work, too: nothing is asked until the shadow was answered.
        until(lambda: len(engine.noted("finish")) >= 3)
        (shadow,) = until(shadows)
        assert shadow["id"] == reply.json["id"]
        assert shadow["messages"] == [{"role": "user", "content": "words=12 sure=1"}]
        assert shadow["text"] == shadow["large_text"] == "".join(f"w{i} " for i in range(12))
        why = engine.ask("GET", f"/fireside/routing/why?id={reply.json['id']}", owner=True).json
        assert why["route"]["shadowed"] is True


# --- remote tiers


@pytest.fixture
def elsewhere(home: Path) -> Iterator[tuple[Running, Running]]:
    """An engine, and another one that is a tier of it."""
    with ExitStack() as stack:
        far = stack.enter_context(running(home / "journal", api_key="far-key"))
        os.environ["FAR_KEY"] = "far-key"
        stack.callback(os.environ.pop, "FAR_KEY")
        remote = f'[remotes.far]\nurl = "{far.url}"\nmodel = "big"\nkey_env = "FAR_KEY"\ntimeout = 5.0\n'
        configure(f'[auto]\nroster = ["little", "far"]\n{remote}')
        near = stack.enter_context(running(home / "journal"))
        yield near, far


def test_a_remote_tier_answers_where_the_local_one_is_in_doubt(elsewhere: tuple[Running, Running]) -> None:
    near, _far = elsewhere
    reply = near.chat("words=20 delay=0.02", "auto")
    assert reply.status == 200, reply.body
    assert route(reply)["tier"] == "far"
    assert reply.json["choices"][0]["message"]["content"] == "".join(f"w{i} " for i in range(20))
    assert route(near.chat("words=20 sure=1", "auto"))["tier"] == "little"


def test_a_remote_tier_that_dies_in_the_middle_is_taken_over(elsewhere: tuple[Running, Running]) -> None:
    near, far = elsewhere
    with near.begin_chat("words=200 delay=0.02", "auto", stream=True) as opened:
        far_pid = until(lambda: (found := far.model("big")) and found["state"] == "ready" and found["pid"])
        until(lambda: len(near.noted("start")) + len(far.noted("start")) >= 2)
        os.kill(far_pid, 9)
        chunks = events(opened.read())
    assert chunks[-1] == "[DONE]"
    (last,) = [chunk for chunk in chunks if chunk != "[DONE]" and chunk.get("timings")]
    found = last["timings"]["route"]
    assert found["tier"] == "little"
    assert "far" in found["reason"]
    assert text_of(chunks).startswith("w0 ")


def test_or_it_fails_in_words_where_the_settings_want_that(elsewhere: tuple[Running, Running]) -> None:
    near, far = elsewhere
    remote = f'[remotes.far]\nurl = "{far.url}"\nmodel = "nobody"\nkey_env = "FAR_KEY"\non_failure = "fail"\n'
    configure(f'[auto]\nroster = ["little", "far"]\n{remote}')
    reply = near.chat("words=20", "auto")
    assert reply.status == 503
    assert "remote tier far" in json.dumps(reply.json)
    assert "far-key" not in json.dumps(reply.json)


def test_a_remote_that_no_roster_names_is_never_called(elsewhere: tuple[Running, Running]) -> None:
    near, far = elsewhere
    configure(f'{ROSTER}[remotes.far]\nurl = "{far.url}"\n')
    assert route(near.chat("words=20", "auto"))["tier"] == "big"
    assert far.model("big") is None
