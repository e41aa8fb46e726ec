"""Losses and accuracy row by row, against plain loops and torch's own."""

import math
import re

import pytest
import torch

from distes.errors import ConfigurationError
from distes.tasks.supervised.objectives import (
    Objective,
    accuracy,
    check_objective,
    cross_entropy,
    objective_of,
    squared_error,
)

B, K, A = 3, 50, 10


def answers(scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, K, A, generator=generator) * scale, torch.randint(A, (B, K), generator=generator)


@pytest.mark.parametrize("scale", [0.01, 3.0, 300.0])
def test_cross_entropy_is_torch_s(scale: float) -> None:
    x_BKA, classes_BK = answers(scale)
    loss = torch.nn.functional.cross_entropy(x_BKA.double().flatten(0, 1), classes_BK.flatten(), reduction="none")
    torch.testing.assert_close(-cross_entropy(x_BKA, classes_BK).double().flatten(), loss, rtol=2e-6, atol=2e-5 * scale)


def test_cross_entropy_by_hand_and_its_input_is_left_alone() -> None:
    x_BKA = torch.tensor([[[1.0, 2.0, 0.5]]])
    before = x_BKA.clone()
    by_hand = 2.0 - math.log(math.e + math.e**2 + math.e**0.5)
    assert float(cross_entropy(x_BKA, torch.tensor([[1]]))) == pytest.approx(by_hand, rel=1e-6)
    assert (x_BKA == before).all()


def test_accuracy_is_in_percent_and_that_of_argmax() -> None:
    x_BKA, classes_BK = answers()
    assert (accuracy(x_BKA, classes_BK) == 100.0 * (x_BKA.argmax(-1) == classes_BK)).all()


def test_equal_answers_count_for_the_first_class_only() -> None:
    x_BKA = torch.tensor([[[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]]])
    assert accuracy(x_BKA, torch.tensor([[0, 1, 1]])).tolist() == [[100.0, 0.0, 100.0]]


def test_an_answer_that_is_not_a_number_is_no_hit() -> None:
    x_BKA = torch.tensor([[[math.nan, 0.0], [3.0, 0.0]]])
    assert accuracy(x_BKA, torch.tensor([[1, 0]])).tolist() == [[0.0, 100.0]]


def test_squared_error_of_numbers_and_of_classes() -> None:
    x_BKA = torch.tensor([[[1.0, 3.0]]])
    assert squared_error(x_BKA, torch.tensor([[[0.0, 1.0]]])).tolist() == [[-2.5]]
    assert squared_error(x_BKA, torch.tensor([[1]])).tolist() == [[-2.5]]


def test_an_unknown_fitness_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=re.escape("fitness must be one of cross_entropy, accuracy, mse")):
        objective_of("acuracy")
    with pytest.raises(ConfigurationError, match=r"must be a function that takes answers .*; got a float"):
        objective_of("math.pi")
    with pytest.raises(ConfigurationError, match=r"must be a function that takes answers .*; got a class"):
        objective_of("torch.nn.CrossEntropyLoss")


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (lambda answers, targets: (answers - targets).square().mean(), "it returned the shape ()"),
        (lambda answers, targets: (answers - targets).square().mean((-1, -2)), "it returned the shape (2,)"),
        (lambda answers, targets: (answers - targets).square(), "it returned the shape (2, 3, 4)"),
        (lambda answers, targets: answers.numpy().mean(-1), "it returned a ndarray"),
        (lambda answers, targets: None, "it returned a NoneType"),
        (lambda answers: answers, "it raised TypeError"),
    ],
)
def test_a_function_of_ones_own_that_gives_no_number_per_row_is_refused(own: Objective, message: str) -> None:
    shapes = "for answers (2, 3, 4) and targets (2, 3, 4)"
    with pytest.raises(ConfigurationError, match=re.escape(f"{shapes} {message}")) as caught:
        check_objective("mine.loss", own, torch.zeros(1, 4), 4)
    assert str(caught.value).startswith("fitness 'mine.loss' must be a function") and caught.value.argument == "fitness"


def test_a_function_of_ones_own_may_write_to_the_targets() -> None:
    targets_n = torch.arange(5)
    check_objective("mine.hits", lambda answers, targets: answers.argmax(-1) == targets.sub_(1), targets_n, 5)
    assert targets_n.tolist() == [0, 1, 2, 3, 4]
