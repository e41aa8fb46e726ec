"""Countdown: every prompt can be solved, held-out numbers occur in no training prompt, rewards are what they say."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.tasks.language.countdown import reward, test_prompts, train_prompts
from distes.tasks.language.countdown.game import OPERATORS, multisets, solutions, value

EXACT, FORM, NOTHING = (
    {"reward": 1.0, "exact": 1.0, "well_formed": 1.0},
    {"reward": 0.1, "exact": 0.0, "well_formed": 1.0},
    {"reward": 0.0, "exact": 0.0, "well_formed": 0.0},
)
PROMPT = {"prompt": "3 5 7 = 22 =", "numbers": [3, 5, 7], "target": 22}
numbers = st.integers(1, 9)
operators = st.sampled_from(sorted(OPERATORS))


@pytest.fixture(scope="module")
def parts() -> tuple[tuple[dict, ...], tuple[dict, ...]]:
    return train_prompts(), test_prompts()


def test_the_parts_are_all_prompts_there_are(parts) -> None:
    """Counted from the rules, by Python's own arithmetic."""
    every = set()
    for a, b, c in itertools.product(range(1, 10), repeat=3):
        for x, y, z in itertools.permutations((a, b, c)):
            for first, second in itertools.product("+-*", repeat=2):
                if 0 <= (target := eval(f"({x} {first} {y}) {second} {z}")) <= 99:
                    every.add(f"{a} {b} {c} = {target} =")
    train, test = ([one["prompt"] for one in part] for part in parts)
    assert len(train) + len(test) == len(every) == 9388 and {*train, *test} == every
    assert len(test) == 1015


def test_no_order_of_held_out_numbers_occurs_in_training(parts) -> None:
    train, test = ({tuple(sorted(one["numbers"])) for one in part} for part in parts)
    assert not train & test
    assert train == set(multisets(held_out=False)) and test == set(multisets(held_out=True))
    assert (len(train), len(test)) == (145, 20)


def test_prompts_say_in_words_what_their_fields_say(parts) -> None:
    for one in itertools.chain(*parts):
        assert one["prompt"] == "{} {} {} = {} =".format(*one["numbers"], one["target"])
    assert json.loads(json.dumps(parts[0][0])) == parts[0][0]


def test_the_first_prompts_are_a_fair_sample(parts) -> None:
    """Neighbours in the order have nothing in common, so that a part of the prompts is not a part of the numbers."""
    for part in parts:
        mean, first = (sum(one["target"] for one in some) / len(some) for some in (part, part[:200]))
        assert abs(mean - first) < 6  # three standard errors
        assert len({tuple(sorted(one["numbers"])) for one in part[:200]}) >= 20


def test_prompts_are_made_afresh() -> None:
    test_prompts()[0]["target"] = -1
    assert test_prompts()[0]["target"] != -1


def test_every_prompt_has_a_solution_and_every_solution_is_rewarded(parts) -> None:
    for one in itertools.chain(*parts):
        answers = solutions(tuple(sorted(one["numbers"])))[one["target"]]
        assert answers and all(reward(one, answer) == EXACT for answer in answers)


@given(st.lists(numbers, min_size=3, max_size=3), st.lists(operators, min_size=2, max_size=2))
def test_the_value_is_that_of_brackets_from_the_left(given_numbers: list[int], names: list[str]) -> None:
    (a, b, c), (first, second) = given_numbers, names
    assert value(given_numbers, names) == eval(f"({a} {first} {b}) {second} {c}")


@given(
    st.lists(numbers, min_size=3, max_size=3),
    st.lists(numbers, min_size=3, max_size=3),
    st.lists(operators, min_size=2, max_size=2),
    st.integers(-100, 800),
    st.sampled_from(["", " ", "  "]),
)
def test_an_expression_gets_what_its_numbers_and_value_deserve(wanted, used, names, target, space) -> None:
    (a, b, c), (first, second) = used, names
    answer = space + space.join(map(str, (a, first, b, second, c))) + space
    right = sorted(used) == sorted(wanted) and eval(f"({a} {first} {b}) {second} {c}") == target
    assert reward({"numbers": wanted, "target": target}, answer) == (EXACT if right else FORM)


@given(st.text(alphabet="0123456789+-* =\n.a", max_size=12) | st.text(max_size=12))
def test_any_text_is_scored(answer: str) -> None:
    scores = reward(PROMPT, answer)
    assert scores in (EXACT, FORM, NOTHING)
    if scores == NOTHING:
        return
    first, one, second, other, third = answer.replace("+", " + ").replace("-", " - ").replace("*", " * ").split()
    assert {one, other} <= {"+", "-", "*"} and all(number.isdecimal() for number in (first, second, third))


@pytest.mark.parametrize(
    ("answer", "scores"),
    [
        ("3 * 5 + 7", EXACT),
        ("5*3+7\n", EXACT),
        ("7 + 3 * 5", FORM),  # from left to right this is 50
        ("3 + 5 + 7", FORM),
        ("7 + 7 + 8", FORM),  # 22, but of other numbers
        ("15 + 7 + 0", FORM),
        ("22", NOTHING),
        ("3 * 5", NOTHING),
        ("3 * 5 + 7 + 0", NOTHING),
        ("3 * 5 + 7 = 22", NOTHING),
        ("-3 * 5 + 7", NOTHING),
        ("3 * (5) + 7", NOTHING),
        ("3 * 5 + ", NOTHING),
        ("3 5 + * 7", NOTHING),
        ("3 ** 5 + 7", NOTHING),
        ("\u0663 * 5 + 7", NOTHING),  # an Arabic 3
        ("3 * 5 + " + "7" * 5000, NOTHING),  # longer than Python turns into a number
        ("", NOTHING),
    ],
)
def test_what_counts_as_an_answer(answer: str, scores: dict[str, float]) -> None:
    assert reward(PROMPT, answer) == scores
