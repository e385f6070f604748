"""Predicted speed, and what it learns from what was measured."""

from __future__ import annotations

import statistics

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.footprint import HOST, Setup
from fireside_engine.core.machine import GIB, Machine, Pool
from fireside_engine.core.shape import Layer, Shape
from fireside_engine.core.speed import Book, Rate, predict, seconds_per_token

MACHINE = Machine(Pool(HOST, "host", 16 * GIB, 12 * GIB, GIB, bandwidth=30e9), n_threads=2)
CARD = Pool("CUDA0", "gpu", 12 * GIB, 11 * GIB, GIB, bandwidth=400e9)


def shape(weights: float, *, experts: float = 0.0, n_layer: int = 24) -> Shape:
    layer = Layer(int(weights * (1 - experts) / n_layer), int(weights * experts / n_layer), 256, 256)
    return Shape(
        "test", (layer,) * n_layer, 0, 0, tied=False, n_ctx_train=32768, n_vocab=150_000, n_embd=1536, n_ff=8960,
        n_params=int(weights), n_experts=64, n_experts_used=8,
    )  # fmt: skip


@given(st.floats(1e8, 1e11), st.floats(1.01, 4.0), st.integers(0, 16384))
def test_more_bytes_and_longer_conversations_are_slower(weights: float, more: float, filled: int) -> None:
    small, large = (predict(shape(w), Setup(16384), "Q4_K_M", "f", MACHINE, Book()) for w in (weights, weights * more))
    assert large.tokens_per_second < small.tokens_per_second
    empty, full = (
        predict(shape(weights), Setup(16384), "Q4_K_M", "f", MACHINE, Book(), n).tokens_per_second
        for n in (filled, filled + 512)
    )
    assert full < empty


def test_experts_that_do_not_compute_are_not_read() -> None:
    dense, sparse = shape(8e9), shape(8e9, experts=0.9)
    slow, fast = (predict(s, Setup(4096), "Q4_K_M", "f", MACHINE, Book()).tokens_per_second for s in (dense, sparse))
    assert fast > 3 * slow


def test_layers_on_a_card_are_read_with_its_bandwidth() -> None:
    machine = Machine(MACHINE.host, (CARD,), n_threads=2)
    rates = [
        predict(shape(8e9), Setup(4096, gpu_layers=n), "Q4_K_M", "f", machine, Book()).tokens_per_second
        for n in (0, 8, 16, 25)
    ]
    assert rates == sorted(rates)
    assert rates[-1] > 8 * rates[0]
    whole = predict(shape(8e9), Setup(4096, gpu_layers=-1), "Q4_K_M", "f", machine, Book())
    assert whole.tokens_per_second == rates[-1]


@given(st.floats(0.1, 10.0), st.lists(st.floats(0.93, 1.07), min_size=6, max_size=12))
def test_a_file_that_was_measured_is_predicted_by_its_measurements(truth: float, noise: list[float]) -> None:
    """Whatever the first guess was wrong by, and although no two measurements agree."""
    own, setup, book = shape(1e9), Setup(4096), Book()
    guess = seconds_per_token(own, setup, "Q4_K_M", MACHINE, book, 64)
    real = guess.weights * truth
    for factor in noise:
        book = book.learn("Q4_K_M", "f", guess, real * factor + guess.attention)
    said = predict(own, setup, "Q4_K_M", "f", MACHINE, book, 64)
    assert abs(said.tokens_per_second * (real + guess.attention) - 1) < 0.1
    assert said.margin == 0.1


def test_other_files_learn_from_what_they_share() -> None:
    """Three files of two types on a machine four times as fast as guessed, one type slower than its class says."""
    book, errors = Book(), []
    truth = {"Q4_K_M": 0.25, "Q8_0": 0.4}
    for size, quant in ((1e9, "Q4_K_M"), (3e9, "Q8_0"), (2e9, "Q4_K_M")):
        own = shape(size)
        guess = seconds_per_token(own, Setup(4096), quant, MACHINE, book, 64)
        for _ in range(4):
            real = guess.weights * truth[quant] + guess.attention
            book = book.learn(quant, f"{quant}-{size}", guess, real)
    for size, quant in ((5e9, "Q4_K_M"), (7e9, "Q8_0")):
        guess = seconds_per_token(shape(size), Setup(4096), quant, MACHINE, book, 64)
        real = guess.weights * truth[quant] + guess.attention
        said = predict(shape(size), Setup(4096), quant, "new", MACHINE, book, 64)
        errors.append(abs(said.tokens_per_second * real - 1))
    assert statistics.median(errors) < 0.2


def test_answers_beside_a_busy_neighbour_spoil_little() -> None:
    """The first answers in a new home are slow, because kernels are compiled beside them."""
    own, setup, book = shape(1e9), Setup(4096), Book()
    guess = seconds_per_token(own, setup, "Q4_K_M", MACHINE, book, 64)
    for slow in (9.0, 6.0, 7.0, 1.0, 1.0, 3.0, 1.0, 1.0):
        book = book.learn("Q4_K_M", "f", guess, slow * guess.weights + guess.attention)
    real = guess.weights + guess.attention
    assert abs(predict(own, setup, "Q4_K_M", "f", MACHINE, book, 64).tokens_per_second * real - 1) < 0.25


def test_a_long_conversation_teaches_about_attention() -> None:
    own, setup, book = shape(2e8), Setup(32768), Book()
    guess = seconds_per_token(own, setup, "Q4_K_M", MACHINE, book, 30_000)
    assert guess.attention > guess.weights
    for _ in range(8):
        book = book.learn("Q4_K_M", "f", guess, guess.weights + 3 * guess.attention)
    assert 2.5 < book.attention.factor < 3.5
    assert book.machine == Rate()


@given(st.floats(-1.0, 1e9), st.floats(-1.0, 1e9))
def test_nonsense_teaches_little(measured: float, other: float) -> None:
    own, book = shape(1e9), Book()
    guess = seconds_per_token(own, Setup(4096), "Q4_K_M", MACHINE, book)
    for value in (measured, other):
        book = book.learn("Q4_K_M", "f", guess, value)
    assert 0.04 <= book.machine.factor <= 20
    assert predict(own, Setup(4096), "Q4_K_M", "f", MACHINE, book).tokens_per_second > 0


def test_a_bench_corrects_what_slow_answers_taught() -> None:
    """The first answers of a home ran beside the compiler, and half of their slowness stayed after a bench."""
    own, setup, book = shape(1e9), Setup(4096), Book()
    guess = seconds_per_token(own, setup, "Q4_K_M", MACHINE, book, 64)
    for slow in (2.0, 1.9):
        book = book.learn("Q4_K_M", "f", guess, slow * guess.weights + guess.attention)
    book = book.learn("Q4_K_M", "f", guess, guess.weights + guess.attention, benched=True)
    said = predict(own, setup, "Q4_K_M", "f", MACHINE, book, 64)
    assert abs(said.tokens_per_second * (guess.weights + guess.attention) - 1) < 0.01


@given(st.lists(st.floats(0.01, 100.0), max_size=40), st.sampled_from(["f", "other"]))
def test_the_gain_of_drafts_is_believed_after_some_answers_and_never_slows(ratios: list[float], file: str) -> None:
    book = Book()
    for ratio in ratios:
        book = book.drafted("f", ratio)
    assert 1.0 <= book.gain(file) <= 3.0
    assert book.gain(file) == book.gain("f")
    if len(ratios) < 3:
        assert book.gain(file) == 1.0
    said = predict(shape(1e9), Setup(4096), "Q4_K_M", file, MACHINE, book, 64)
    assert said.expected == said.tokens_per_second * book.gain(file)


def test_a_file_has_a_gain_of_its_own() -> None:
    book = Book()
    for _ in range(9):
        book = book.drafted("repeats", 2.0).drafted("never", 1.0)
    assert book.gain("repeats") > 1.9
    assert book.gain("never") == 1.0
    assert 1.2 < book.gain("unknown") < 1.8
