"""Prompts, answers and rewards: fitness is the mean reward of a language model's answers.

Axes: B members evaluated together, K prompts, T tokens of a prompt, V scalars.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError, DistesWarning
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.population import Evaluation, Purpose
from distes.runs.units import Units
from distes.tasks.base import ChunkPairs, Outcome, Request, Task
from distes.tasks.language.cache_size import at_once
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from distes.tasks.language.normalization import normalized_per_prompt
from distes.tasks.language.perplexity import perplexity
from distes.tasks.language.prompts import Prompts, draw, draw_own
from distes.tasks.language.rewards import Rewards
from distes.tasks.language.texts import read_texts, text_of_prompt
from distes.tasks.language.tokens import Tokens

ROWS = 256  # prompts of a held-out part that are answered at once; fixed, since last bits depend on a batch's size
LENGTH, ENDED, FAILED, PERPLEXITY = "answer_length", "ended", "failed_rewards", "perplexity"


class Language(Task):
    """Fine-tunes a language model: fitness is the mean reward of its answers to prompts.

    Members answer prompts of the training part; the centre, without noise, all of the validation part; and the last
    centre all of the test part, which decides nothing.

    Attributes:
        prompts: The prompts in these three parts.
        rewards: The reward function.
        max_new_tokens: Tokens after which an answer is cut.
    """

    def __init__(
        self,
        prompts: str | Callable[..., Any],
        reward: str | Callable[..., Any],
        *,
        prompts_args: dict[str, Any] | None = None,
        test_prompts: str | None = None,
        test_args: dict[str, Any] | None = None,
        reward_args: dict[str, Any] | None = None,
        scores: list[str] | None = None,
        reward_seconds: float | None = 10.0,
        worst_reward: float = 0.0,
        max_new_tokens: int = 128,
        prompts_per_generation: int | None = 32,
        draws: Literal["shared", "own"] = "shared",
        normalize_per_prompt: bool = False,
        temperature: float = 0.0,
        chat_template: bool = False,
        system: str | None = None,
        validation: float = 0.1,
        test: float = 0.2,
        split: int = 0,
        eval_prompts: int | None = None,
        perplexity_text: str | None = None,
    ) -> None:
        """Reads nothing yet.

        Args:
            prompts: A .jsonl file with an object per line, or the import path of a function that returns a sequence of
                them. Each has a `prompt`, a text, or `messages`, a chat; and any further fields for the reward.
            reward: The import path of a function of a prompt's object and an answer, a text, that returns a number, or
                a dict with the key `reward` and the keys of scores. Greater is better.
            prompts_args: Arguments of the function that prompts names.
            test_prompts: A file or a function of the test part; null splits one off.
            test_args: Arguments of the test part's function, beside prompts_args.
            reward_args: Further arguments of the reward.
            scores: Further numbers that the reward returns, such as exact; they are recorded, and not learnt from.
            reward_seconds: Seconds that the reward of one answer may take, in a process of its own; null for no limit,
                in the worker's process.
            worst_reward: What an answer counts whose reward raises or takes too long.
            max_new_tokens: Tokens after which an answer is cut.
            prompts_per_generation: Prompts that each member answers; null for all of the training part.
            draws: shared prompts for all members of a generation, or own ones for each pair.
            normalize_per_prompt: Whether fitness is the mean z-score of the rewards, taken for each prompt over all
                members (arXiv:2511.16652). Then easy and hard prompts count alike; four bytes per answer travel.
            temperature: 0 takes the most probable token; above it, tokens are drawn, alike for both members of a pair.
            chat_template: Whether a `prompt` is put into the model's chat template; `messages` always are.
            system: A system message before each chat.
            validation: Share of the training prompts that is held out to evaluate the centre, to choose policy/best and
                to stop by; 0 uses the training prompts.
            test: Share of all prompts that is held out for testing, where they have no test part of their own.
            split: Seed of these shares.
            eval_prompts: The most prompts of a held-out part that are used, always the same; null for all.
            perplexity_text: A text, or a .jsonl file with a `text` per line, whose perplexity is measured with each
                evaluation of the centre, to see what training costs elsewhere; null takes the held-out prompts.
        """
        for name, number in (("max_new_tokens", max_new_tokens), ("prompts_per_generation", prompts_per_generation)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} must be at least 1; got {number}.", argument=name)
        if not 0 <= temperature < float("inf"):
            raise ConfigurationError(f"temperature must be 0 or more; got {temperature}.", argument="temperature")
        if draws not in ("shared", "own"):
            raise ConfigurationError(f"draws must be shared or own; got {draws!r}.", argument="draws")
        if normalize_per_prompt and draws == "own":
            raise ConfigurationError(
                "normalize_per_prompt compares members on the same prompts; with draws own they have different ones.",
                argument="normalize_per_prompt",
            )
        self.prompts = Prompts(
            prompts,
            prompts_args,
            test_prompts,
            test_args,
            validation=validation,
            test=test,
            split=split,
            eval_prompts=eval_prompts,
        )
        self.rewards = Rewards(reward, reward_args, scores or (), reward_seconds, worst_reward)
        self.max_new_tokens, self._temperature, self._draws = max_new_tokens, temperature, draws
        self._per_generation, self._chat_template, self._system = prompts_per_generation, chat_template, system
        self._source, self._scores, self._per_prompt = prompts, tuple(scores or ()), normalize_per_prompt
        self._text = None if perplexity_text is None else read_texts(perplexity_text)
        self._tokens: Tokens | None = None  # each process loads the tokenizer for itself
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": None}

    def check(self) -> None:
        """Reads the prompts, and calls the reward once for each of the first ones.

        Raises:
            ConfigurationError: They cannot be read, or the reward is not as it must be.
        """
        self.rewards.check(self.prompts.part(Purpose.TRAIN))

    def check_policy(self, policy: nn.Module) -> None:
        """Checks that the policy is a language model, and that all prompts and their answers fit into its context.

        Raises:
            ConfigurationError: It is not, or one does not.
        """
        if not isinstance(policy, CausalLM):
            raise ConfigurationError(
                f"task Language needs a language model, --policy CausalLM --policy.path FOLDER; got the policy "
                f"{type(policy).__name__}."
            )
        tokens = self._translator(policy)
        most = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
        for purpose in Purpose:
            longest = max((len(tokens.prompt(row)) for row in self.prompts.part(purpose)), default=0)
            if most is not None and longest + self.max_new_tokens > most:
                raise ConfigurationError(
                    f"task.max_new_tokens is {self.max_new_tokens}, and the longest prompt has {longest} tokens: "
                    f"together more than the {most} that {type(policy.model).__name__} takes. Shorten one of both."
                )

    @property
    def name(self) -> str:
        """The prompts' name."""
        named = self._source if isinstance(self._source, str) else getattr(self._source, "__name__", "language")
        parts = named.removesuffix(".jsonl").replace("/", ".").split(".")
        return parts[-2] if len(parts) > 1 and parts[-1].endswith("prompts") else parts[-1]

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """One number, which stands for a prompt."""
        return (1,)

    @property
    def action_size(self) -> int:
        """One."""
        return 1

    @property
    def held_out(self) -> bool:
        """True."""
        return True

    @property
    def evaluations(self) -> int | None:
        """One: an evaluation of the centre answers all prompts of a part."""
        return 1

    @property
    def units(self) -> Units:
        """Tokens and answers."""
        return Units("token", "answer", "tokens", "answers")

    @property
    def scalars(self) -> tuple[str, ...]:
        """The reward's scores, what is known of the answers' form, and of a centre its perplexity."""
        return (*self._scores, LENGTH, ENDED, FAILED, PERPLEXITY)

    @property
    def centre_scalars(self) -> tuple[str, ...]:
        """The perplexity."""
        return (PERPLEXITY,)

    @property
    def describes_behaviour(self) -> bool:
        """Where fitness is normalised per prompt: then the reward of each prompt."""
        return self._per_prompt

    def learnt_from(self, evaluation: Evaluation) -> Evaluation:
        """Normalises rewards per prompt, if that is asked for; the mean reward becomes the return."""
        rewards_N2K = evaluation.behaviour_N2D
        if not self._per_prompt or rewards_N2K is None:
            return evaluation
        fitness_N2 = normalized_per_prompt(rewards_N2K)
        return dataclasses.replace(
            evaluation,
            fitness_N2=fitness_N2,
            return_N2=evaluation.fitness_N2,
            behaviour_N2D=None,
            eval_behaviour_ED=None,
        )

    def meaning(self, scalar: str) -> str:
        """What a scalar means."""
        known = {
            LENGTH: "tokens of an answer, its end included",
            ENDED: "share of answers that ended before `max_new_tokens`",
            FAILED: "share of answers whose reward raised or took too long, and counted `worst_reward`",
            PERPLEXITY: "perplexity of the held-out text; it grows as training makes the model forget",
        }
        return known.get(scalar, f"mean `{scalar}` of the answers, as the reward reports it")

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """A few pairs: a member already has a batch of prompts."""
        return ChunkPairs(4, 16)

    @property
    def on_device(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Ends the process of the reward."""
        self.rewards.close()

    def _nothing_to_play(self) -> ConfigurationError:
        return ConfigurationError(
            f"Only environments can be played; the policy was trained on the prompts {self.name}. `distes evaluate` "
            "measures it on the test part."
        )

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Lets members answer their prompts, or centres all prompts of the part that the purpose names."""
        count, policy = len(members), members.policy
        assert isinstance(policy, CausalLM)
        tokens, rows = self._translator(policy), self.prompts.part(request.purpose)
        drawn_bK = self._drawn(request, len(rows))
        rewards_BK, sums_BV = np.zeros((count, drawn_bK.shape[1])), np.zeros((count, len(self.scalars)))
        for first in range(0, drawn_bK.shape[1], ROWS):
            some = slice(first, first + ROWS)
            asked_bK = [[rows[i] for i in drawn_K[some]] for drawn_K in drawn_bK]
            found = self._answers(members, asked_bK, tokens, request)
            asked_BK = asked_bK * (count // len(asked_bK))
            texts = [tokens.answers(*answers) for answers in zip(found.tokens_BKN, found.lengths_BK, strict=True)]
            scored = self.rewards(list(chain(*asked_BK)), list(chain(*texts)), request.stop)
            self._warn(scored.first_failure)
            rewards_BK[:, some] = scored.reward_n.reshape(count, -1)
            sums_BV[:, : len(self._scores)] += scored.scores_nV.reshape(count, -1, len(self._scores)).sum(1)
            sums_BV[:, -4] += found.lengths_BK.sum(1)
            sums_BV[:, -3] += np.isin(found.tokens_BKN, tokens.ends).any(2).sum(1)
            sums_BV[:, -2] += scored.failed_n.reshape(count, -1).sum(1)
        size = drawn_bK.shape[1]
        steps_B, scalars_BV = sums_BV[:, -4].astype(np.int64), (sums_BV / size).astype(np.float32)
        scalars_BV[:, -1] = np.nan if request.training else self._perplexity(members, tokens)
        behaviour_BK = rewards_BK.astype(np.float32) if self._per_prompt else None
        fitness_B = rewards_BK.mean(1)
        return Outcome(fitness_B, steps_B, count * size, behaviour_BD=behaviour_BK, scalars_BV=scalars_BV)

    def _perplexity(self, members: Members, tokens: Tokens) -> NDArray[np.float64]:
        texts = self._text
        if texts is None:
            texts = [text_of_prompt(row) for row in self.prompts.part(Purpose.TEST)]
        return perplexity(members, tokens.pieces(texts))

    def _warn(self, failure: str) -> None:
        """Says once in each process why a reward failed; their number is recorded."""
        if failure and not self._warned:
            self._warned = True
            warnings.warn(f"{failure} It counts worst_reward, as all that fail.", DistesWarning, stacklevel=2)

    def _answers(
        self, members: Members, asked_bK: Sequence[Sequence[Mapping[str, Any]]], tokens: Tokens, request: Request
    ) -> Answers:
        prompts = Padded.of([[tokens.prompt(row) for row in asked_K] for asked_K in asked_bK], tokens.pad)
        decoding = Decoding(self.max_new_tokens, tokens.ends, tokens.pad, self._temperature)
        return generate(
            members,
            prompts,
            decoding,
            at_once=at_once(members, prompts.tokens_bKT.shape[1:], self.max_new_tokens),
            seeds_B=request.seeds_B,
            stop=request.stop,
        )

    def _drawn(self, request: Request, count: int) -> NDArray[np.int64]:
        """The prompts that each member answers, numbers from 0 to n - 1, (B, K); (1, K) where all see the same."""
        size = self._per_generation
        if request.purpose is not Purpose.TRAIN or size is None or size >= count:
            drawn_1K: NDArray[np.int64] = np.arange(count)[None]
            return drawn_1K
        if not request.training or self._draws == "own":  # candidates of a strategy have prompts by their seeds
            return draw_own(request.seeds_B, count, size)
        return draw(request.common_seed, count, size)[None]

    def _translator(self, policy: CausalLM) -> Tokens:
        if self._tokens is None:
            self._tokens = Tokens(policy, chat_template=self._chat_template, system=self._system)
        return self._tokens
