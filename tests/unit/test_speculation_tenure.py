"""When a draft model leaves memory, and when it is tried again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fireside_engine.core.speculation.drafting import GIVE_UP, ModelDrafting
from fireside_engine.core.speculation.speculator import Limits, Speculator
from fireside_engine.core.speculation.tenure import FIRST_ABSENCE, Tenure, Wish


def test_it_leaves_once_and_is_tried_again_when_nothing_else_is_to_do() -> None:
    tenure = Tenure()
    assert tenure.wish(useless=False, could_pay=True, idle=True) is None
    assert tenure.wish(useless=True, could_pay=True, idle=False) is Wish.FREE
    assert tenure.wish(useless=True, could_pay=True, idle=False) is None, "it is told once"
    tenure.left()
    tenure.worked(FIRST_ABSENCE - 1)
    assert tenure.wish(useless=True, could_pay=True, idle=True) is None
    tenure.worked(1)
    assert tenure.wish(useless=True, could_pay=True, idle=False) is None
    assert tenure.wish(useless=True, could_pay=False, idle=True) is None
    assert tenure.wish(useless=True, could_pay=True, idle=True) is Wish.LOAD
    assert tenure.wish(useless=True, could_pay=True, idle=True) is None
    tenure.came()
    assert tenure.is_present


def test_each_absence_is_longer_than_the_one_before() -> None:
    tenure, needed = Tenure(), []
    for _ in range(10):
        assert tenure.wish(useless=True, could_pay=True, idle=True) is Wish.FREE
        tenure.left()
        needed.append(tenure.needed)
        tenure.worked(tenure.needed)
        assert tenure.wish(useless=True, could_pay=True, idle=True) is Wish.LOAD
        tenure.came()
    assert needed[:3] == [FIRST_ABSENCE, 2 * FIRST_ABSENCE, 4 * FIRST_ABSENCE]
    assert needed[-1] == needed[-2]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 50_000), st.booleans())))
def test_it_is_never_freed_twice_nor_loaded_twice(story: list[tuple[bool, bool, bool, int, bool]]) -> None:
    tenure, present, worked = Tenure(), True, 0
    for useless, could_pay, idle, tokens, works in story:
        tenure.worked(tokens)
        worked += tokens
        match tenure.wish(useless=useless, could_pay=could_pay, idle=idle):
            case Wish.FREE:
                assert present
                assert useless
                tenure.left()
                present, worked = False, 0
            case Wish.LOAD:
                assert not present
                assert idle
                assert could_pay
                assert worked >= FIRST_ABSENCE
                worked = 0
                if works:
                    tenure.came()
                    present = True
                else:
                    tenure.stayed_away()
        assert tenure.is_present == present


def test_the_speculator_wishes_it_away_when_it_is_given_up_and_back_on_trial() -> None:
    speculator = Speculator(Limits(draft_size=0.3), {1: 0.01, 2: 0.011, 4: 0.012, 8: 0.015})
    assert speculator.wish(idle=True) is None
    assert speculator.model is not None
    speculator.model.useless = "the draft model cannot pay: a test says so"
    assert speculator.wish(idle=False) is Wish.FREE
    speculator.left()
    speculator.tenure.worked(FIRST_ABSENCE)
    assert speculator.wish(idle=True) is Wish.LOAD
    speculator.came()
    assert speculator.model.useless == ""
    assert speculator.wish(idle=True) is None


def test_a_model_that_cannot_pay_even_at_its_best_stays_away() -> None:
    speculator = Speculator(Limits(draft_size=0.9), {1: 0.01, 2: 0.02, 4: 0.04, 8: 0.08})
    assert speculator.model is not None
    speculator.model.useless = "it is 0.90 of the model's size"
    speculator.wish(idle=True)
    speculator.left()
    speculator.tenure.worked(100 * FIRST_ABSENCE)
    assert speculator.wish(idle=True) is None


def test_back_on_trial_it_is_given_up_after_one_rest() -> None:
    again = ModelDrafting(0.3).again()
    for _ in range(40):
        again.look(lambda rows: 1.0 + 0.05 * rows, *([9] * (again.look.__code__.co_argcount - 2)))
        again.judged(0, refused=True)
        again.plain(1 << 20)
        if again.useless:
            break
    assert "accepted" in again.useless
    assert again._rests == GIVE_UP
