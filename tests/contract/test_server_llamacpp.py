"""llama-server's endpoints, asked as llama.vim, llama.vscode and Continue ask them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from fake_engine import Running, events, running_apart, until


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running_apart(tmp_path_factory.mktemp("home"), "small", "zz-asleep") as engine:
        yield engine


def post(engine: Running, path: str, **body: Any) -> Any:
    reply = engine.ask("POST", path, {"model": "small", **body})
    assert reply.status == 200, reply.body
    return reply.json


TIMINGS = ["timings/prompt_n", "timings/prompt_ms", "timings/predicted_n", "timings/predicted_ms"]
LLAMA_VIM = {
    "id_slot": 0, "input_prefix": "words=2 a\n", "input_suffix": "b\n", "prompt": "", "n_predict": 128, "stop": [],
    "input_extra": [{"text": "x", "time": [1, 2], "filename": "f.py"}], "n_indent": 0, "top_k": 40, "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"], "stream": False, "cache_prompt": True, "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000, "response_fields": ["content", *TIMINGS, "truncated", "tokens_cached"], "model": "",
}  # fmt: skip


def test_llama_vim_gets_its_ghost_text(engine: Running) -> None:
    reply = engine.ask("POST", "/infill", LLAMA_VIM, headers={"Authorization": "Bearer ", "Content-Type": "text/plain"})
    # The plugin looks for exactly this, and is silent where a space stands between.
    assert re.search(rb'"content"\s*:"', reply.body)
    assert reply.json["content"] == "w0 w1 "
    assert set(reply.json) == {"content", *TIMINGS, "truncated", "tokens_cached"}
    assert reply.json["timings/predicted_n"] == 2


def test_its_warm_up_asks_for_nothing(engine: Running) -> None:
    warm_up = {**LLAMA_VIM, "n_predict": 0, "response_fields": [""], "samplers": [], "t_max_predict_ms": 1}
    assert engine.ask("POST", "/infill", warm_up).json == {}


def test_llama_vscode_gets_several(engine: Running) -> None:
    answers = post(engine, "/infill", input_prefix="words=2", input_suffix="", n_cmpl=3, t_max_predict_ms=500)
    assert [answer["content"] for answer in answers] == ["w0 w1 "] * 3
    assert [answer["index"] for answer in answers] == [0, 1, 2]


def test_extra_of_a_wrong_type_is_refused(engine: Running) -> None:
    for extra in ("x", [1], [{"text": 1}], [{"filename": "a"}]):
        body = {"input_prefix": "words=1", "input_suffix": "", "input_extra": extra}
        assert engine.ask("POST", "/infill", body).status == 400


def test_a_model_that_cannot_fill_in_names_those_that_can(engine: Running) -> None:
    reply = engine.ask("POST", "/infill", {"model": "small", "input_prefix": "fail=fill", "input_suffix": ""})
    assert reply.status == 501
    assert reply.json["error"]["type"] == "not_supported_error"
    assert "qwen2.5-coder" in reply.json["error"]["hint"]


def test_a_new_keystroke_ends_the_old_request(engine: Running) -> None:
    before = len(engine.noted("cancel"))
    body = {"model": "small", "input_prefix": "words=100 delay=0.05", "input_suffix": ""}
    engine.send("POST", "/infill", body).close()
    until(lambda: len(engine.noted("cancel")) > before)


def test_time_is_up_after_the_line(engine: Running) -> None:
    text = quote("a\nb\nc\nd\ne\nf\n")
    answer = post(engine, "/completion", prompt=f"say={text} cut=2 delay=0.05", t_max_predict_ms=60)
    assert 0 < answer["content"].count("\n") < 6
    assert answer["stop_type"] == "limit"
    assert answer["tokens_predicted"] == len(answer["content"]) // 2
    assert post(engine, "/completion", prompt=f"say={text} cut=2", t_max_predict_ms=0)["content"].count("\n") == 6


def test_an_answer_stays_in_its_block(engine: Running) -> None:
    text = quote("x = 1\n\n    y = 2\nz = 3\n")
    for stream in (False, True):
        reply = engine.ask(
            "POST", "/completion", {"model": "small", "prompt": f"say={text}", "n_indent": 4, "stream": stream}
        )
        chunks = events(reply.body) if stream else [reply.json]
        assert "".join(chunk["content"] for chunk in chunks) == "x = 1\n\n    y = 2\n"
        assert chunks[-1]["stop_type"] == "limit"


def test_a_completion_has_every_member(engine: Running) -> None:
    answer = post(
        engine, "/completion", prompt="words=3", n_predict=2, seed=5, stop=["q"], n_probs=1, return_tokens=True
    )
    assert answer["content"] == "w0 w1 "
    assert (answer["stop"], answer["stop_type"], answer["stopping_word"], answer["index"]) == (True, "limit", "", 0)
    assert (answer["tokens_predicted"], answer["tokens_evaluated"], answer["tokens"]) == (2, 1, [0, 1])
    assert (answer["prompt"], answer["model"], answer["truncated"], answer["has_new_line"]) == (
        "words=3",
        "small",
        False,
        False,
    )
    assert answer["generation_settings"]["seed"] == 5
    assert answer["generation_settings"]["n_predict"] == 2
    probability = answer["completion_probabilities"][0]
    assert (probability["id"], probability["token"], probability["logprob"]) == (0, "w0 ", -0.5)
    assert probability["top_logprobs"] == [{"id": 0, "token": "t0", "bytes": [116, 48], "logprob": -1.0}]
    after = post(engine, "/completion", prompt="words=1", n_probs=1, post_sampling_probs=True)
    assert 0 < after["completion_probabilities"][0]["top_probs"][0]["prob"] < 1


def test_a_completion_is_streamed(engine: Running) -> None:
    """As Continue's llama.cpp provider reads it: `content` of every event, and an end that says `stop`."""
    body = {"prompt": "words=3", "stream": True, "n_predict": 10, "stop": ["\n\n"]}
    *chunks, last = events(engine.ask("POST", "/completion", body).body)
    assert "".join(chunk["content"] for chunk in chunks) == "w0 w1 w2 "
    assert not any(chunk["stop"] for chunk in chunks)
    assert (last["stop"], last["content"], last["stop_type"]) == (True, "", "eos")
    assert last["timings"]["predicted_n"] == 3


@pytest.mark.parametrize(
    ("prompt", "n"),
    [
        ("words=1", 1), ([1, 2, "words=1"], 1), (["words=1", "words=1"], 2), ({"prompt_string": "words=1"}, 1),
        ([[1, 2], "words=1"], 2),
    ],
)  # fmt: skip
def test_prompts_of_every_shape(engine: Running, prompt: Any, n: int) -> None:
    answer = post(engine, "/completion", prompt=prompt, n_predict=1)
    assert len(answer) == n if isinstance(answer, list) else n == 1


def test_biases_of_every_shape(engine: Running) -> None:
    def bias(value: Any) -> str:
        content = post(engine, "/completion", prompt="words=1 echo=logit_bias", logit_bias=value)["content"]
        return str(content)

    assert bias([[5, -1], ["ab", 0.5]]) == "((5, -1.0), (97, 0.5), (98, 0.5)) "
    assert bias({"7": False}) == "((7, -1000000000.0),) "
    for bad in ([5], [[5]], [[5, True]], {"a": "b"}, 3):
        assert engine.ask("POST", "/completion", {"prompt": "words=1", "logit_bias": bad}).status == 400


def test_text_and_tokens(engine: Running) -> None:
    assert post(engine, "/tokenize", content="ab") == {"tokens": [97, 98]}
    assert post(engine, "/tokenize", content="a", add_special=True, with_pieces=True) == {
        "tokens": [{"id": 0, "piece": "\x00"}, {"id": 97, "piece": "a"}]
    }
    assert post(engine, "/detokenize", tokens=[104, 105]) == {"content": "hi"}
    assert post(engine, "/detokenize") == {"content": ""}
    prompt = post(engine, "/apply-template", messages=[{"role": "user", "content": "hi"}])
    assert prompt == {"prompt": "<user>hi"}


def test_what_it_is(engine: Running) -> None:
    props = engine.ask("GET", "/props?model=small").json
    assert props["default_generation_settings"]["n_ctx"] == 4096
    assert props["total_slots"] == 2
    assert props["model_path"] == "small.gguf"
    assert props["chat_template"] == "{{ tools }}"
    assert props["is_sleeping"] is False
    assert engine.ask("GET", "/props?model=zz-asleep&autoload=false").json["is_sleeping"] is True
    assert engine.model("zz-asleep") is None
    assert engine.ask("GET", "/props?model=nobody").status == 404
    slots = engine.ask("GET", "/slots?model=small").json
    assert slots == [{"id": i, "is_processing": False, "n_ctx": 4096, "model": "small"} for i in range(2)]
    assert engine.ask("GET", "/health").json == {"status": "ok"}


def test_metrics_count(engine: Running) -> None:
    def value(name: str) -> float:
        text = engine.ask("GET", "/metrics").body.decode()
        found = re.search(rf"^llamacpp:{name} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found.group(1))

    before = value("tokens_predicted_total")
    post(engine, "/completion", prompt="words=5")
    assert value("tokens_predicted_total") == before + 5
    assert value("requests_processing") == 0
    headers = engine.ask("GET", "/metrics").headers
    assert headers["process-start-time-unix"].isdecimal()
    assert headers["content-type"].startswith("text/plain")
