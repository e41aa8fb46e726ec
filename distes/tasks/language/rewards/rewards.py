"""A user's reward, called for many answers, so that whatever it does, the worker goes on.

Axes: n answers, V scores, C numbers of an answer: the reward and the scores.
"""

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError, raised
from distes.errors.trust import foreign
from distes.tasks.arguments import name_of
from distes.tasks.base import Stopped
from distes.tasks.language.prompts import rows as prompt_rows
from distes.tasks.language.rewards.board import ROWS
from distes.tasks.language.rewards.child import Child
from distes.tasks.language.rewards.process import failure_of, function_of
from distes.tasks.language.rewards.values import excerpt, values_of
from distes.tasks.request import never

FIRST = 8  # prompts that a reward is tried on
LOOK = 64  # answers between looks whether to stop, in the worker's process
STARTS = 3  # how often the process may end before it has begun with an answer


class Scored(NamedTuple):
    """What answers are worth.

    Attributes:
        reward_n: float64.
        scores_nV: float64, in the order of the names.
        failed_n: Whether an answer's reward raised, took too long, or returned something else than is allowed.
        first_failure: A sentence about the first of them; empty if there is none.
    """

    reward_n: NDArray[np.float64]
    scores_nV: NDArray[np.float64]
    failed_n: NDArray[np.bool_]
    first_failure: str

    @property
    def failed(self) -> int:
        """The number of these answers."""
        return int(self.failed_n.sum())


class Rewards:
    """Calls `reward(prompt, answer, **reward_args)`, which returns a number, or a mapping of `reward` and of scores.

    A reward that raises, takes too long, ends its process or returns something else counts as the worst. It gets a copy
    of the prompt, so that it may change it.

    Attributes:
        name: The function's name or import path, for messages.
        scores: The names of the further scores, in their order.
    """

    def __init__(
        self,
        reward: str | Callable[..., Any],
        reward_args: Mapping[str, Any] | None = None,
        scores: Sequence[str] = (),
        seconds: float | None = 10.0,
        worst: float = 0.0,
    ) -> None:
        """Imports nothing and starts nothing yet.

        Args:
            reward: An import path, or a function.
            reward_args: Further arguments of it.
            scores: The names of the further scores that it returns.
            seconds: The time that it may take for an answer. Rewards then run in a process of each worker's own, which
                sees no GPU. None runs them in the worker's process, without a limit.
            worst: What a reward that fails counts as; its scores count as 0.

        Raises:
            ConfigurationError: An argument is out of its range, the configuration is not trusted, or the function
                cannot be sent to a process.
        """
        if isinstance(reward, str):
            if "." not in reward:
                raise ConfigurationError(
                    f"reward must be the import path of a function, such as my_module.reward; got {reward!r}.",
                    argument="reward",
                )
            foreign(reward, "task.reward")
        elif not callable(reward):
            raise ConfigurationError(
                f"reward must be a function or its import path; got {excerpt(reward)}.", argument="reward"
            )
        _check_scores(scores)
        if seconds is not None and not 0 < seconds < math.inf:
            raise ConfigurationError(
                f"reward_seconds must be above 0, or null for no limit; got {seconds}.", argument="reward_seconds"
            )
        if not math.isfinite(worst):
            raise ConfigurationError(f"worst_reward must be a finite number; got {worst}.", argument="worst_reward")
        self.name, self.scores = name_of(reward), tuple(scores)
        self._path = reward if isinstance(reward, str) else None
        self._arguments, self._seconds, self._worst = dict(reward_args or {}), seconds, float(worst)
        self._pickled, self._function = b"", None if isinstance(reward, str) else reward
        if self._function is not None and seconds is not None:
            self._pickled, self._function = _pickled(self._function, self.name), None
        self._child: Child | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the process, and what each process imports by itself."""
        return {**self.__dict__, "_child": None, "_function": None if self._path else self._function}

    def check(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Tries the reward on the first prompts, each with an empty answer.

        Raises:
            ConfigurationError: It cannot be imported or called, fails, or returns something else than is allowed.
        """
        first = prompts[:FIRST]
        try:
            values_nC, failure = self._values(first, [""] * len(first), never)
        except EvaluationError as error:
            raise ConfigurationError(f"reward {self.name!r} cannot be used: {error}", argument="reward") from error
        if failure is None:
            return
        place = int(np.isnan(values_nC).any(1).argmax())
        raise ConfigurationError(
            f"reward {self.name!r} {failure}, for an empty answer to the prompt {prompt_rows.excerpt(first[place])}. "
            "It is called with a prompt's object and an answer, and must rate whatever a model may answer, an empty "
            "text, too.",
            argument="reward",
        )

    def __call__(
        self, prompts: Sequence[Mapping[str, Any]], answers: Sequence[str], stop: Callable[[], bool] = never
    ) -> Scored:
        """Rates answers.

        Args:
            prompts: The prompt of each answer.
            answers: n texts.
            stop: Called while answers are rated; see `Request.stop`.

        Raises:
            ConfigurationError: The reward cannot be imported.
            EvaluationError: Its process cannot be started.
            Stopped: `stop` returned True.
        """
        values_nC, failure = self._values(prompts, answers, stop)
        failed_n: NDArray[np.bool_] = np.asarray(np.isnan(values_nC).any(axis=1))
        values_nC[failed_n] = [self._worst, *(0.0 for _ in self.scores)]
        sentence = ""
        if failure is not None:
            place = int(failed_n.argmax())
            sentence = (
                f"The reward {self.name} {failure}, for the answer {excerpt(answers[place])} to the prompt "
                f"{prompt_rows.excerpt(prompts[place])}."
            )
        return Scored(values_nC[:, 0].copy(), values_nC[:, 1:].copy(), failed_n, sentence)

    def close(self) -> None:
        """Ends the process; it is started again when it is needed."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _values(
        self, prompts: Sequence[Mapping[str, Any]], answers: Sequence[str], stop: Callable[[], bool]
    ) -> tuple[NDArray[np.float64], str | None]:
        """The numbers of each answer, (n, C), NaN where it failed; and what happened at the first that did."""
        if len(prompts) != len(answers):
            raise ValueError(f"There are {len(prompts)} prompts and {len(answers)} answers.")
        pickles, which = _unique(prompts)
        if self._seconds is None:
            return self._in_this_process(pickles, which, answers, stop)
        blocks, failure, begun, starts = [np.empty((0, 1 + len(self.scores)))], None, 0, 0
        while begun < len(answers):
            rows = slice(begun, begun + ROWS)
            used = sorted(set(which[rows]))
            places = {one: place for place, one in enumerate(used)}
            batch = [pickles[one] for one in used], [places[one] for one in which[rows]], answers[rows]
            count = len(batch[1])
            rated = self._process(stop).rate(pickle.dumps(batch, protocol=5), count, self._seconds, stop)
            values, ended = rated.values_RC[: rated.reached], rated.ended
            starts = 0 if rated.reached else starts + 1
            if starts == STARTS:
                raise EvaluationError(
                    f"The process of the reward {self.name} {ended} before it was called, {STARTS} times."
                )
            failed = np.flatnonzero(np.isnan(values).any(1))
            if failure is None and len(failed):
                failure = ended if ended and failed[0] == len(values) - 1 else rated.failure
            blocks.append(values)
            begun += rated.reached
        return np.concatenate(blocks), failure

    def _process(self, stop: Callable[[], bool]) -> Child:
        """The process, started if it is not there.

        Raises:
            ConfigurationError: It cannot import the reward.
        """
        if self._child is None or not self._child.alive:
            self.close()
            given = {
                "path": self._path,
                "pickled": self._pickled,
                "arguments": self._arguments,
                "scores": self.scores,
            }
            child = Child(pickle.dumps(given), 1 + len(self.scores), stop)
            if child.refusal:
                child.close()
                raise ConfigurationError(child.refusal, argument="reward")
            self._child = child
        return self._child

    def _in_this_process(
        self, pickles: Sequence[bytes], which: Sequence[int], answers: Sequence[str], stop: Callable[[], bool]
    ) -> tuple[NDArray[np.float64], str | None]:
        """The same as `_values`, without a process of its own."""
        if self._function is None:
            assert self._path is not None
            self._function = function_of(self._path)
        values_nC, failure = np.full((len(answers), 1 + len(self.scores)), np.nan), None
        for row, (prompt, answer) in enumerate(zip(which, answers, strict=True)):
            if not row % LOOK and stop():
                raise Stopped
            try:
                returned = self._function(pickle.loads(pickles[prompt]), answer, **self._arguments)
                values_nC[row] = values_of(returned, self.scores)
            except (Exception, SystemExit) as error:
                failure = failure or failure_of(error)
        return values_nC, failure


def _check_scores(scores: Sequence[str]) -> None:
    """Checks the names of scores.

    Raises:
        ConfigurationError: They are no list of different names.
    """
    if isinstance(scores, str) or not all(isinstance(name, str) and name.strip() for name in scores):
        raise ConfigurationError(f"scores must be a list of names; got {excerpt(scores)}.", argument="scores")
    for place, name in enumerate(scores):
        if name == "reward" or name in scores[:place]:
            why = "is there in any case" if name == "reward" else "is there twice"
            raise ConfigurationError(
                f"scores must be different names beside reward; {name!r} {why}.", argument="scores"
            )


def _pickled(reward: Callable[..., Any], name: str) -> bytes:
    """A function as another process can read it, also a lambda, or one of a notebook.

    Raises:
        ConfigurationError: It holds something that cannot be sent.
    """
    import cloudpickle

    try:
        made: bytes = cloudpickle.dumps(reward)
    except Exception as error:
        raise ConfigurationError(
            f"reward {name!r} cannot be sent to the process that runs it, since pickling it {raised(error)}. Give it "
            "what it needs by reward_args, or run it in the worker's process: reward_seconds=None.",
            argument="reward",
        ) from error
    return made


def _unique(prompts: Sequence[Mapping[str, Any]]) -> tuple[list[bytes], list[int]]:
    """Each prompt once, pickled; and which of them each row has. Members share the mappings of their prompts."""
    places: dict[int, int] = {}
    pickles: list[bytes] = []
    for prompt in prompts:
        if id(prompt) not in places:
            places[id(prompt)] = len(pickles)
            pickles.append(pickle.dumps(prompt, protocol=5))
    return pickles, [places[id(prompt)] for prompt in prompts]
