"""Prompts, answers and rewards: fitness is the mean reward of a language model's answers.

Axes: B members evaluated together, K prompts, T tokens of a prompt, V scalars.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.population import Purpose
from distes.runs.units import Units
from distes.tasks.base import ChunkPairs, Outcome, Request, Task
from distes.tasks.language.cache_size import at_once
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from distes.tasks.language.probe import SIZES, TOKENS, Probe, affordable
from distes.tasks.language.prompts import Prompts, draw, draw_own
from distes.tasks.language.rewards import Rewards
from distes.tasks.language.tokens import Tokens
from distes.tasks.probed import NoisyMembers, Probed

ROWS = 256  # prompts of a held-out part that are answered at once; fixed, since last bits depend on a batch's size
WELL_FORMED = "well_formed"  # the score of that name says whether an answer has the form that is asked for
LENGTH, ENDED, FAILED = "answer_length", "ended", "failed_rewards"


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
        temperature: float = 0.0,
        chat_template: bool = False,
        system: str | None = None,
        validation: float = 0.1,
        test: float = 0.2,
        split: int = 0,
        eval_prompts: int | None = None,
        probe: bool = True,
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
            temperature: 0 takes the most probable token; above it, tokens are drawn, alike for both members of a pair.
            chat_template: Whether a `prompt` is put into the model's chat template; `messages` always are.
            system: A system message before each chat.
            validation: Share of the training prompts that is held out to evaluate the centre, to choose policy/best and
                to stop by; 0 uses the training prompts.
            test: Share of all prompts that is held out for testing, where they have no test part of their own.
            split: Seed of these shares.
            eval_prompts: The most prompts of a held-out part that are used, always the same; null for all.
            probe: Whether to look at what sigma does to a few answers before a new run starts.
        """
        for name, number in (("max_new_tokens", max_new_tokens), ("prompts_per_generation", prompts_per_generation)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} must be at least 1; got {number}.", argument=name)
        if not 0 <= temperature < float("inf"):
            raise ConfigurationError(f"temperature must be 0 or more; got {temperature}.", argument="temperature")
        if draws not in ("shared", "own"):
            raise ConfigurationError(f"draws must be shared or own; got {draws!r}.", argument="draws")
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
        self._source, self._scores, self._probes = prompts, tuple(scores or ()), probe
        self._tokens: Tokens | None = None  # each process loads the tokenizer for itself

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
        """The reward's scores, and what is known of the answers' form."""
        return (*self._scores, LENGTH, ENDED, FAILED)

    def meaning(self, scalar: str) -> str:
        """What a scalar means."""
        known = {
            LENGTH: "tokens of an answer, its end included",
            ENDED: "share of answers that ended before `max_new_tokens`",
            FAILED: "share of answers whose reward raised or took too long, and counted `worst_reward`",
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
        sums_BV, length_B = np.zeros((count, 1 + len(self.scalars))), np.zeros(count, np.int64)
        for first in range(0, drawn_bK.shape[1], ROWS):
            some_bK = [[rows[i] for i in drawn_K[first : first + ROWS]] for drawn_K in drawn_bK]
            found = self._answers(members, some_bK, tokens, request)
            for b in range(count):
                asked_K = some_bK[b % len(some_bK)]
                texts = tokens.answers(found.tokens_BKN[b], found.lengths_BK[b])
                scored = self.rewards(asked_K, texts)
                ended_K = np.isin(found.tokens_BKN[b], tokens.ends).any(1)
                sums_BV[b] += [
                    scored.reward_n.sum(),
                    *scored.scores_nV.sum(0),
                    found.lengths_BK[b].sum(),
                    ended_K.sum(),
                    scored.failed,
                ]
                length_B[b] += found.lengths_BK[b].sum()
        size = drawn_bK.shape[1]
        means_BV = sums_BV / size
        return Outcome(means_BV[:, 0].copy(), length_B, count * size, scalars_BV=means_BV[:, 1:].astype(np.float32))

    def probe(self, noisy: NoisyMembers) -> Probed | None:
        """Compares a few members with the centre, on a few training prompts; see `distes.tasks.language.probe`."""
        if not self._probes:
            return None
        centre, rows = noisy(0.0, 1), self.prompts.part(Purpose.TRAIN)
        policy, new = centre.policy, min(self.max_new_tokens, TOKENS)
        assert isinstance(policy, CausalLM)
        tokens = self._translator(policy)
        most = min(SIZES[0][1], self._per_generation or len(rows), len(rows))
        asked = [rows[i] for i in draw(noisy.common_seed, len(rows), most)]
        longest = max(len(tokens.prompt(row)) for row in asked) + new
        answers = noisy.limit * (self._per_generation or len(rows))
        size = affordable(noisy.parameters, longest, centre.device.type, noisy.limit, answers)
        if size is None:
            return Probed(f"No probe: it would take too long for {noisy.parameters:,} parameters on this processor.")
        formed = self._scores.index(WELL_FORMED) if WELL_FORMED in self._scores else None
        decoding = Decoding(new, tokens.ends, tokens.pad, self._temperature)
        return Probe(asked[: size[1]], tokens, decoding, self.rewards, formed, noisy.common_seed).run(noisy, size[0])

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
