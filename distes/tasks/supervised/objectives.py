"""What makes a member's fitness of its answers and the targets: losses and accuracy, row by row.

The functions read the answers as few times as they can: with a small network they take as long as its layers.

Axes: B members, K rows each, A numbers of an answer, R all rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distes.errors import ConfigurationError, raised
from distes.errors.imports import import_object
from distes.errors.trust import foreign

# Answers (B, K, A) and targets, (B, K) int64 or (B, K, A) float32 -> a number per row, (B, K), to be maximised.
Objective = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(answers_BKA: Tensor, classes_BK: Tensor) -> Tensor:
    """Returns the log-probability of each row's class, minus the cross-entropy, (B, K).

    It is x_c - log sum_a exp x_a, for the class c. The sum over classes is one over long rows of a transposed copy:
    torch.logsumexp over the last axis takes up to twice as long, and torch's cross_entropy ten times.
    """
    count = answers_BKA.shape[-1]
    rows_AR = answers_BKA.reshape(-1, count).t().contiguous()
    largest_R = rows_AR.amax(0)
    log_sum_R = _sum_of_rows((rows_AR - largest_R).exp_()).log_().add_(largest_R)
    chosen_BK1 = answers_BKA.gather(-1, classes_BK.unsqueeze(-1))
    return chosen_BK1.squeeze(-1) - log_sum_R.view(classes_BK.shape)


def _sum_of_rows(terms_AR: Tensor) -> Tensor:
    """Returns the sum over the first axis, (R,), and overwrites the terms.

    Halves are added to each other, number by number. `sum(0)` adds the last few columns in another order than the
    others, so a member's loss would depend, in the last bit, on the members beside it.
    """
    rows = len(terms_AR)
    while rows > 1:
        half = rows // 2
        terms_AR[:half] += terms_AR[rows - half : rows]
        rows -= half
    return terms_AR[0]


def accuracy(answers_BKA: Tensor, classes_BK: Tensor) -> Tensor:
    """Returns 100 where the largest answer is that of the row's class, the first of equal ones, and else 0: (B, K)."""
    count = answers_BKA.shape[-1]
    rows_AR = answers_BKA.reshape(-1, count).t().contiguous()
    is_largest_AR = rows_AR == rows_AR.amax(0)
    if int(torch.count_nonzero(is_largest_AR)) == is_largest_AR.shape[1]:  # one in each row, as almost always
        right_BK = is_largest_AR.gather(0, classes_BK.reshape(1, -1)).view(classes_BK.shape)
    else:
        right_BK = answers_BKA.argmax(-1) == classes_BK  # an argmax takes four times as long
    return right_BK.to(torch.float32).mul_(100)


def squared_error(answers_BKA: Tensor, targets: Tensor) -> Tensor:
    """Returns minus the mean squared error of each row's A numbers, (B, K); a class is a 1 among zeros."""
    if targets.dtype == torch.int64:
        targets = torch.nn.functional.one_hot(targets, answers_BKA.shape[-1])
    return (answers_BKA - targets).square_().mean(-1).neg_()


OBJECTIVES: dict[str, Objective] = {"cross_entropy": cross_entropy, "accuracy": accuracy, "mse": squared_error}
OF_CLASSES = ("cross_entropy", "accuracy")
WANTED = (
    "takes answers (B, K, A), of B members to K rows each, and their targets, and returns a tensor (B, K), a number "
    "per row that is to be maximised"
)
TRIED = 2, 3  # B and K of a trial: two numbers that tell the axes apart


def objective_of(name: str) -> Objective:
    """Returns the function of a name in `OBJECTIVES`, or of an import path.

    Raises:
        ConfigurationError: There is no such function.
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if "." not in name:
        raise ConfigurationError(
            f"fitness must be one of {', '.join(OBJECTIVES)}, or the import path of a function of answers and targets; "
            f"got {name!r}.",
            argument="fitness",
        )
    foreign(name, "task.fitness")
    found = import_object("task.fitness", name)
    if isinstance(found, type) or not callable(found):
        what = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
        raise ConfigurationError(f"fitness {name!r} must be a function that {WANTED}; got {what}.", argument="fitness")
    given: Objective = found
    return given


def check_objective(name: str, objective: Objective, targets_n: Tensor, action_size: int) -> None:
    """Calls a function of the user's once, on answers of zeros to some targets, before a run starts.

    Args:
        name: Its import path.
        objective: The function.
        targets_n: Targets of the data, (n,) or (n, A).
        action_size: A, the numbers of an answer.

    Raises:
        ConfigurationError: It raises, or does not return a number per row.
    """
    members, rows = TRIED
    targets = targets_n[torch.arange(rows) % len(targets_n)].expand(members, rows, *targets_n.shape[1:])
    shapes = f"answers {(members, rows, action_size)} and targets {tuple(targets.shape)}"
    start = f"fitness {name!r} must be a function that {WANTED}; for {shapes} it"
    try:
        with torch.inference_mode():
            found: object = objective(torch.zeros(members, rows, action_size), targets.clone())
    except Exception as error:
        raise ConfigurationError(f"{start} {raised(error)}.", argument="fitness") from error
    if not isinstance(found, Tensor) or found.is_complex():
        got = "a complex one" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ConfigurationError(f"{start} returned {got}.", argument="fitness")
    if found.shape != TRIED:
        raise ConfigurationError(f"{start} returned the shape {tuple(found.shape)}.", argument="fitness")
