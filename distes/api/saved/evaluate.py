"""Measures a saved policy: mean fitness over fresh episodes, or on the test part of a data set.

Axes: E evaluations, P parameters, C classes.
"""

import dataclasses
import math
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.api.building.construct import construct
from distes.api.building.policy import build_policy
from distes.api.saved.answered import Answered
from distes.api.saved.language_model import LanguageModel
from distes.api.saved.load import is_language
from distes.api.saved.subnetwork_file import read_saved
from distes.errors import CheckpointError, ConfigurationError
from distes.errors.trust import only_own
from distes.members.gaussian import GaussianRows
from distes.members.members import Members, population_forward
from distes.noise.draws import MAX_EPISODES, Stream, draw
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.perturbations.dense_by_tensor import DenseByTensor, smallest_table
from distes.policies.layout import Layout
from distes.population import Purpose
from distes.runs.monitors.wording import number
from distes.runs.policy_files import DESCRIPTION, SavedPolicy, Which, policy_folder
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.checks import checked
from distes.tasks.language.prompts.rows import rows_of

EPISODES = 100  # where the task has no number of its own
TOGETHER = 32  # episodes evaluated together
SAMPLES = 5  # answers of a language model that are shown


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The results of a saved policy.

    Attributes:
        task: The task's name.
        generation: The generation whose centre the policy is.
        fitness_E: Its fitness in each evaluation.
        scalars: Means of the numbers that the task reports, by name.
        confusion_CC: For classes, how many test rows of a class (row) were given which (column); else None.
        classes: What the classes are called.
        answers: The answers of a language model to the prompts; else None.
    """

    task: str
    generation: int
    fitness_E: NDArray[np.float64]
    scalars: dict[str, float] = field(default_factory=dict)
    confusion_CC: NDArray[np.int64] | None = None
    classes: tuple[str, ...] = ()
    answers: Answered | None = None

    @property
    def mean(self) -> float:
        """Mean fitness."""
        return float(self.fitness_E.mean())

    @property
    def standard_error(self) -> float:
        """Standard error of the mean, over a language model's prompts or over evaluations; NaN for a single one."""
        if self.answers is not None:
            return self.answers.standard_errors["fitness"]
        count = len(self.fitness_E)
        return float(self.fitness_E.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan

    def as_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        confusion = None if self.confusion_CC is None else self.confusion_CC.tolist()
        return {
            **{name: getattr(self, name) for name in ("task", "generation")},
            "fitness": self.mean,
            "standard_error": None if math.isnan(self.standard_error) else self.standard_error,
            "evaluations": len(self.fitness_E),
            **self.scalars,
            **({} if self.answers is None else self.answers.as_dict()),
            "classes": list(self.classes) or None,
            "confusion": confusion,
        }

    def __str__(self) -> str:
        samples = [] if self.answers is None else self.answers.samples(SAMPLES)
        return "\n".join([self._headline(), *samples, *self._matrix()])

    def _headline(self) -> str:
        error = "" if math.isnan(self.standard_error) else f" (standard error {number(self.standard_error)})"
        if self.answers is not None:
            return self.answers.headline(self.mean, self.scalars)
        over = "" if len(self.fitness_E) == 1 else f" over {len(self.fitness_E):,} episodes{error}"
        further = "".join(f", {name} {number(value)}" for name, value in self.scalars.items())
        return f"fitness {number(self.mean)}{over}{further}"

    def _matrix(self) -> list[str]:
        """The confusion matrix as lines: rows are classes, columns the policy's answers."""
        if self.confusion_CC is None:
            return []
        names = self.classes or tuple(map(str, range(len(self.confusion_CC))))
        left = max(map(len, names))
        width = max(len(f"{self.confusion_CC.max():,}"), max(len(name[:6]) for name in names)) + 1
        head = " " * left + "".join(f"{name[:6]:>{width}}" for name in names) + "   right"
        lines = []
        for name, row_C, right in zip(names, self.confusion_CC, self.confusion_CC.diagonal(), strict=True):
            share = f"{right / row_C.sum():8.1%}" if row_C.sum() else ""
            lines.append(f"{name:<{left}}" + "".join(f"{count or '.':>{width}}" for count in row_C.tolist()) + share)
        return ["class (row) and answer (column):", head, *lines]


def evaluate(
    path: str | os.PathLike[str],
    which: Which = "best",
    *,
    episodes: int | None = None,
    seed: int | None = None,
    prompts: str | None = None,
    trust: bool = False,
) -> Evaluated:
    """Measures the policy that a run saved: on the test part, where its task holds data out; else in fresh episodes.

    Args:
        path: The run directory, or its `policy` folder; or a file of `distes export --subnetwork`.
        which: The centre with the best evaluation, or the last one.
        episodes: Number of episodes; None for 100, or for 1 where an evaluation is deterministic.
        seed: Seed of the episodes, or of a language model's drawn tokens. None for 0; for a language model, for what
            the run itself has drawn.
        prompts: For a language model, a `.jsonl` file or the import path of a function, whose prompts it answers
            instead of the test part.
        trust: Whether the run may import and call code that is not part of distes.

    Raises:
        DistesError: There is no such policy, or it cannot be evaluated.
    """
    if episodes is not None and not 1 <= episodes <= MAX_EPISODES:
        raise ConfigurationError(f"episodes must be from 1 to {MAX_EPISODES:,}; got {episodes:,}.")
    where = Path(path)
    source = where if where.is_file() else policy_folder(where) / DESCRIPTION
    with nullcontext() if trust else only_own(str(source), set() if prompts is None else {prompts}):
        saved = read_saved(where, which)
        if is_language(saved):
            return _of_language(saved, episodes, seed, prompts)
        if prompts is not None:
            raise ConfigurationError(f"prompts are for language models; the policy is a {saved.policy['class_path']}.")
        task: Task = construct("task", saved.task)
        try:
            task.check()
            most = task.evaluations
            if episodes is not None and most is not None and episodes > most:
                raise ConfigurationError(
                    f"episodes is {episodes:,}, and {task.name} takes at most {most:,}, since further ones would give "
                    "the same numbers: leave episodes out."
                )
            return _evaluated(saved, task, episodes or most or EPISODES, seed or 0)
        finally:
            task.close()


def _of_language(saved: SavedPolicy, episodes: int | None, seed: int | None, prompts: str | None) -> Evaluated:
    """Lets a language model answer prompts."""
    if episodes is not None:
        raise ConfigurationError(
            "episodes are for environments; a language model answers each prompt once: task.eval_prompts of the run, "
            "or another file of prompts, say how many there are."
        )
    model = LanguageModel(saved)
    rows = None if prompts is None else rows_of("prompts", prompts, {})
    found = model.examine(rows, seed)
    means_V = found.means_BV[0]
    kept_V = means_V[1:].astype(np.float32).astype(np.float64)  # as a run keeps them
    scalars = dict(zip(model.task.scalars, kept_V.tolist(), strict=True))
    answered = Answered.of(found, model.task.scalars)
    return Evaluated(model.task.name, saved.generation, means_V[:1].copy(), scalars, answers=answered)


def _evaluated(saved: SavedPolicy, task: Task, episodes: int, seed: int) -> Evaluated:
    policy = build_policy(saved.policy, task.observation_shape, task.action_size)
    try:
        policy.load_state_dict(saved.module_state)
    except RuntimeError as error:
        what = " ".join(str(error).split())
        raise CheckpointError(f"The saved parameters do not fit the policy: {what}") from error
    layout = Layout(policy)
    forward = population_forward(policy, layout, task.observation_shape)
    # No noise is added; still, a large policy should not cost a table of twice its size.
    centre_P, perturbation = layout.flatten(policy), DenseByTensor(NoiseTable(size=smallest_table(layout)), layout)
    outcomes = []
    with one_thread():
        for first in range(0, episodes, TOGETHER):
            seeds_E = draw(seed, 0, Stream.FINAL_EVALUATION, min(episodes, first + TOGETHER))[first:]
            nothing_E = np.zeros(len(seeds_E), np.int64)
            members = Members(forward, perturbation, centre_P, GaussianRows(perturbation, 0.0, nothing_E, nothing_E))
            request = Request(seeds_E, training=False, normalization=saved.normalization, purpose=Purpose.TEST)
            outcomes.append(checked(task, task.evaluate(members, request), len(seeds_E)))
    made = Evaluated(
        task.name,
        saved.generation,
        np.concatenate([one.fitness_B for one in outcomes]),
        _scalars(task, outcomes),
    )
    with torch.inference_mode():
        confusion_CC = task.confusion(policy)
    return dataclasses.replace(made, confusion_CC=confusion_CC, classes=task.classes)


def _scalars(task: Task, outcomes: list[Outcome]) -> dict[str, float]:
    if not task.scalars:
        return {}
    each_EV = np.concatenate([one.scalars_BV for one in outcomes if one.scalars_BV is not None]).astype(np.float64)
    known = {name: column[~np.isnan(column)] for name, column in zip(task.scalars, each_EV.T, strict=True)}
    return {name: float(column.mean()) for name, column in known.items() if len(column)}
