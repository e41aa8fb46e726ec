"""A saved language model, ready for use: prompts in, answers out.

Axes: K prompts.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Never

import numpy as np
import torch
from numpy.typing import NDArray

from distes.api.building.construct import construct
from distes.api.building.policy import build_policy
from distes.api.saved.policy import Episodes, Policy
from distes.errors import CheckpointError, ConfigurationError
from distes.members.centre_rows import CentreRows
from distes.members.members import Members, population_forward
from distes.noise.draws import Stream, draw
from distes.noise.one_thread import one_thread
from distes.noise.table import NoiseTable
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from distes.population import Purpose
from distes.runs.policy_files import SavedPolicy
from distes.tasks.base import Request
from distes.tasks.language.examined import Examined
from distes.tasks.language.language import Language
from distes.tasks.language.prompts.rows import Row, rows_of

NO_TABLE = 2**62  # numbers of a noise table that is never made
LOW_RANK = {"class_path": "distes.perturbations.low_rank.LowRank", "init_args": {}}


class LanguageModel(Policy):
    """A saved language model with its tokenizer, and with the chat template and the decoding of its task.

    Attributes:
        saved: What was read from the disk: where the model comes from, and its numbers.
    """

    def __init__(self, saved: SavedPolicy) -> None:
        """Loads the model's folder, and puts the saved weights into it.

        Raises:
            DistesError: The folder is gone or is another model's, or the task cannot be made.
        """
        self.saved = saved
        self.task: Language = construct("task", saved.task)
        if not isinstance(self.task, Language):
            raise ConfigurationError(f"A language model answers prompts, and the task {self.task.name} has none.")
        policy = build_policy(saved.policy, saved.observation_shape, saved.action_size)
        assert isinstance(policy, CausalLM)
        try:
            policy.load_state_dict(saved.module_state)
        except RuntimeError as error:
            what = " ".join(str(error).split())
            raise CheckpointError(f"The saved parameters do not fit the model in {policy.folder}: {what}") from error
        self._policy = policy

    @property
    def model(self) -> Any:
        """The model of transformers, float32, with the saved weights."""
        return self._policy.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, of transformers."""
        return self._policy.tokenizer

    @property
    def policy(self) -> CausalLM:
        """The policy."""
        return self._policy

    def answer(
        self,
        prompts: Sequence[str | Mapping[str, Any]],
        *,
        max_new_tokens: int | None = None,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Answers prompts, with the chat template and the decoding of the task.

        Args:
            prompts: Texts; or mappings with a `prompt` or with chat `messages`, as in a file of prompts.
            max_new_tokens: Tokens after which an answer is cut; None for the task's.
            temperature: 0 takes the most probable token, above it tokens are drawn; None for the task's.
            seed: Of drawn tokens.

        Raises:
            ConfigurationError: A prompt is none, or is too long.
        """
        if isinstance(prompts, str):
            raise ConfigurationError("answer takes a list of prompts: write answer([text])[0] for one.")
        rows = rows_of("prompts", [{"prompt": one} if isinstance(one, str) else one for one in prompts], {})
        answering = self.task.answering.with_decoding(max_new_tokens, temperature)
        answering.check_lengths(self._policy, rows)
        request = Request(draw(seed, 0, Stream.FINAL_EVALUATION, 1), training=False)
        with one_thread():
            return answering.texts(self._members(), rows, request)

    def examine(self, rows: Sequence[Row] | None = None, seed: int | None = None) -> Examined:
        """Answers prompts, and rates the answers, as the run's evaluation does.

        Args:
            rows: The prompts; None for the test part.
            seed: Of drawn tokens; None for those of the run's own evaluation.

        Raises:
            DistesError: The prompts cannot be read or are too long, or the reward cannot be used.
        """
        asked = self.task.prompts.part(Purpose.TEST) if rows is None else rows
        self.task.rewards.check(asked)
        self.task.answering.check_lengths(self._policy, asked)
        generation = self.saved.generation if seed is None else 0
        drawn = draw(self._seed if seed is None else seed, generation, Stream.FINAL_EVALUATION, 1)
        try:
            with one_thread():
                request = Request(drawn, training=False, purpose=Purpose.TEST)
                return self.task.examine(self._members(), [asked], request)
        finally:
            self.task.close()

    def evaluate(self, episodes: int | None = None, seed: int | None = None) -> Episodes:
        """Answers prompts of the test part, and returns the answers' rewards and numbers of tokens.

        Args:
            episodes: The most prompts that are answered; None for all.
            seed: Of drawn tokens; None for those of the run's own evaluation.
        """
        found = self.examine(self.task.prompts.part(Purpose.TEST)[:episodes], seed)
        return Episodes(found.values_BKV[0, :, 0].copy(), found.lengths_BK[0])

    @property
    def _seed(self) -> int:
        return int((self.saved.evaluation or {}).get("seed", 0))

    def _members(self) -> Members:
        """The saved centre as one member of its run."""
        forward, perturbation, centre_P = self._parts
        return Members(forward, perturbation, centre_P, CentreRows(perturbation))

    @cached_property
    def _parts(self) -> tuple[Any, Any, torch.Tensor]:
        layout = Layout(self._policy)
        part = (self.saved.evaluation or {}).get("perturbation", LOW_RANK)
        perturbation = construct("perturbation", part, noise=NoiseTable(size=NO_TABLE), layout=layout)
        forward = population_forward(self._policy, layout, self.task.observation_shape)
        return forward, perturbation, torch.from_numpy(layout.flatten(self._policy))

    def _facts(self) -> dict[str, Any]:
        numbers = sum(one.numel() for one in self._policy.parameters())
        return {
            "class": type(self.model).__name__,
            "parameters": f"{numbers:,}",
            "from": self._policy.path,
            "task": self.task.name,
            "generation": f"{self.saved.generation:,}",
            "evaluation": "not evaluated" if self.saved.eval_mean is None else f"{self.saved.eval_mean:.4g}",
        }

    def __repr__(self) -> str:
        return f"LanguageModel({', '.join(f'{name} {value}' for name, value in self._facts().items())})"

    def predict(self, *args: Any, **kwargs: Any) -> Never:
        """Refuses: a language model has no observations and actions."""
        raise _no_actions()

    def observations(self, *args: Any, **kwargs: Any) -> Never:
        """Refuses: a language model has no observations and actions."""
        raise _no_actions()

    @property
    def module(self) -> Never:
        """Refuses: a language model has no observations and actions; `model` is its module."""
        raise _no_actions()

    @property
    def action_mask(self) -> None:
        """None: a language model has no actions."""
        return None

    def initial_state(self, rows: int = 1) -> NDArray[np.float32] | None:
        """Returns None: a language model keeps nothing between prompts."""
        return None


def _no_actions() -> ConfigurationError:
    return ConfigurationError(
        "A language model has prompts and answers, and no observations and actions: `distes export RUN --transformers "
        "FOLDER` writes a folder that transformers loads, `distes evaluate RUN` measures it, and in Python "
        "distes.load(RUN) has answer(prompts), model and tokenizer."
    )
