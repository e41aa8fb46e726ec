"""Prompts, answers and rewards: fitness is the mean reward of a language model's answers.

Axes: B members evaluated together, K prompts, T tokens of a prompt, V scalars.
"""

import copy
import dataclasses
import warnings
from collections.abc import Callable, Sequence
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
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.language.cache_size import at_once
from distes.tasks.language.examined import Asked, Examined
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from distes.tasks.language.normalization import normalized_per_prompt
from distes.tasks.language.perplexity import perplexity
from distes.tasks.language.probe import SIZES, TOKENS, Probe, affordable
from distes.tasks.language.prompts.prompts import Prompts, digest, draw, draw_own
from distes.tasks.language.prompts.rows import Row
from distes.tasks.language.prompts.texts import read_texts, text_of_prompt
from distes.tasks.language.rewards.rewards import Rewards
from distes.tasks.language.tokens import Tokens
from distes.tasks.probed import NoisyMembers, Probed

ROWS = 256  # prompts of a held-out part that are answered at once; fixed, since last bits depend on a batch's size
WELL_FORMED = "well_formed"  # the score of that name says whether an answer has the form that is asked for
LENGTH, ENDED, FAILED, PERPLEXITY = "answer_length", "ended", "failed_rewards", "perplexity"


class Language(Task):
    """Fine-tunes a language model: fitness is the mean reward of its answers to prompts.

    Members answer prompts of the training part; the centre, without noise, all of the validation part; and the last
    centre all of the test part, which decides nothing.

    Attributes:
        prompts: The prompts in these three parts.
        rewards: The reward function.
        max_new_tokens: Tokens after which an answer is cut.
        temperature: Of drawn tokens; 0 takes the most probable one.
        chat_template: Whether a `prompt` is put into the model's chat template.
        system: A system message before each chat, or None.
    """

    def __init__(
        self,
        prompts: str | Callable[..., Any] = "distes.tasks.language.countdown.train_prompts",
        reward: str | Callable[..., Any] = "distes.tasks.language.countdown.reward",
        *,
        prompts_args: dict[str, Any] | None = None,
        test_prompts: str | None = None,
        test_args: dict[str, Any] | None = None,
        reward_args: dict[str, Any] | None = None,
        scores: list[str] | None = None,
        reward_seconds: float | None = 10.0,
        worst_reward: float = 0.0,
        max_new_tokens: int = 32,
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
            scores: Further numbers that the reward returns, such as exact, which are recorded and not learnt from; null
                leaves them out.
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
            probe: Whether to look at what sigma does to a few answers before a new run starts.
        """
        _check_decoding(max_new_tokens, temperature)
        if prompts_per_generation is not None and prompts_per_generation < 1:
            raise ConfigurationError(
                f"prompts_per_generation must be at least 1; got {prompts_per_generation}.",
                argument="prompts_per_generation",
            )
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
        self.max_new_tokens, self.temperature, self._draws = max_new_tokens, temperature, draws
        self._per_generation, self.chat_template, self.system = prompts_per_generation, chat_template, system
        self._source, self._scores, self._per_prompt = prompts, tuple(scores or ()), normalize_per_prompt
        self._text = None if perplexity_text is None else read_texts(perplexity_text)
        self._probes = probe
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
        for purpose in Purpose:
            self.check_lengths(policy, self.prompts.part(purpose))

    def check_lengths(self, policy: CausalLM, rows: Sequence[Row]) -> None:
        """Checks that prompts and their answers fit into the model's context.

        Raises:
            ConfigurationError: One does not.
        """
        tokens = self._translator(policy)
        most = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
        longest = max((len(tokens.prompt(row)) for row in rows), default=0)
        if most is not None and longest + self.max_new_tokens > most:
            raise ConfigurationError(
                f"task.max_new_tokens is {self.max_new_tokens}, and the longest prompt has {longest} tokens: "
                f"together more than the {most} that {type(policy.model).__name__} takes. Shorten one of both."
            )

    def decoding(self, *, max_new_tokens: int | None = None, temperature: float | None = None) -> "Language":
        """Returns a copy with another decoding; None leaves what the task has."""
        made = copy.copy(self)
        if max_new_tokens is not None:
            made.max_new_tokens = max_new_tokens
        if temperature is not None:
            made.temperature = temperature
        _check_decoding(made.max_new_tokens, made.temperature)
        return made

    @property
    def name(self) -> str:
        """The prompts' name."""
        named = self._source if isinstance(self._source, str) else getattr(self._source, "__name__", "language")
        parts = named.removesuffix(".jsonl").replace("/", ".").split(".")
        return parts[-2] if len(parts) > 1 and parts[-1].endswith("prompts") else parts[-1]

    @property
    def identity(self) -> dict[str, str]:
        """The prompts, and the text of which the perplexity is measured."""
        return {**self.prompts.digests, **({} if self._text is None else {"perplexity_text": digest(self._text)})}

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

    @property
    def relative_fitness(self) -> bool:
        """Where fitness is normalised per prompt."""
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
            f"Only environments can be played, and the language model was trained on the prompts {self.name}: `distes "
            "evaluate RUN` measures it on the test part, and `distes export RUN --transformers FOLDER` writes a folder "
            "that transformers loads."
        )

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Lets members answer their prompts, or centres all prompts of the part that the purpose names."""
        rows = self.prompts.part(request.purpose)
        drawn_bK = self._drawn(request, len(rows))
        found = self.examine(members, [[rows[i] for i in drawn_K] for drawn_K in drawn_bK], request)
        steps_B, episodes = found.values_BKV[:, :, -2].sum(1).astype(np.int64), len(members) * drawn_bK.shape[1]
        behaviour_BK = found.values_BKV[:, :, 0].astype(np.float32) if self._per_prompt else None
        fitness_B, scalars_BV = found.means_BV[:, 0].copy(), found.means_BV[:, 1:].astype(np.float32)
        return Outcome(fitness_B, steps_B, episodes, behaviour_BD=behaviour_BK, scalars_BV=scalars_BV)

    def _perplexity(self, members: Members) -> NDArray[np.float64]:
        policy, texts = members.policy, self._text
        assert isinstance(policy, CausalLM)
        if texts is None:
            texts = [text_of_prompt(row) for row in self.prompts.part(Purpose.TEST)]
        return perplexity(members, self._translator(policy).pieces(texts))

    def _warn(self, failure: str) -> None:
        """Says once in each process why a reward failed; their number is recorded."""
        if failure and not self._warned:
            self._warned = True
            warnings.warn(f"{failure} It counts worst_reward, as all that fail.", DistesWarning, stacklevel=2)

    def examine(self, members: Members, asked_bK: Asked, request: Request) -> Examined:
        """Lets members answer prompts, and rates each answer.

        Args:
            members: B members.
            asked_bK: The prompts of each member, or those that all see, (1, K).
            request: As `evaluate` takes it; its purpose is not looked at.
        """
        count, size = len(members), len(asked_bK[0])
        policy = members.policy
        assert isinstance(policy, CausalLM)
        tokens, answered = self._translator(policy), list[Answers]()
        values_BKV, failed_B = np.zeros((count, size, len(self._scores) + 3)), np.zeros(count, np.int64)
        texts_BK: list[list[str]] = [[] for _ in range(count)]
        for first in range(0, size, ROWS):
            some = slice(first, first + ROWS)
            some_bK = [asked_K[some] for asked_K in asked_bK]
            found = self._answers(members, some_bK, tokens, request)
            answered.append(found)
            texts = [tokens.answers(*answers) for answers in zip(found.tokens_BKN, found.lengths_BK, strict=True)]
            asked_BK = list(some_bK) * (count // len(some_bK))
            scored = self.rewards(list(chain(*asked_BK)), list(chain(*texts)), request.stop)
            self._warn(scored.first_failure)
            ended_BK = np.isin(found.tokens_BKN, tokens.ends).any(2)
            columns = scored.reward_n, *scored.scores_nV.T, found.lengths_BK.ravel(), ended_BK.ravel()
            values_BKV[:, some] = np.stack(columns, 1).reshape(count, -1, len(columns))
            failed_B += scored.failed_n.reshape(count, -1).sum(1)
            for all_K, texts_K in zip(texts_BK, texts, strict=True):
                all_K += texts_K
        perplexity_B = np.full(count, np.nan) if request.training else self._perplexity(members)
        return Examined(asked_bK, texts_BK, answered, values_BKV, failed_B, perplexity_B)

    def answers(self, members: Members, rows: Sequence[Row], request: Request) -> list[str]:
        """Returns the answers of a single member, without a reward.

        Args:
            members: One member.
            rows: The prompts.
            request: As `evaluate` takes it; its purpose is not looked at.
        """
        policy = members.policy
        assert isinstance(policy, CausalLM)
        tokens, texts = self._translator(policy), list[str]()
        for first in range(0, len(rows), ROWS):
            found = self._answers(members, [rows[first : first + ROWS]], tokens, request)
            texts += tokens.answers(found.tokens_BKN[0], found.lengths_BK[0])
        return texts

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
        decoding = Decoding(new, tokens.ends, tokens.pad, self.temperature)
        return Probe(asked[: size[1]], tokens, decoding, self.rewards, formed, noisy.common_seed).run(noisy, size[0])

    def _answers(self, members: Members, asked_bK: Asked, tokens: Tokens, request: Request) -> Answers:
        prompts = Padded.of([[tokens.prompt(row) for row in asked_K] for asked_K in asked_bK], tokens.pad)
        decoding = Decoding(self.max_new_tokens, tokens.ends, tokens.pad, self.temperature)
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
            self._tokens = Tokens(policy, chat_template=self.chat_template, system=self.system)
        return self._tokens


def _check_decoding(max_new_tokens: int, temperature: float) -> None:
    """Checks how answers are chosen.

    Raises:
        ConfigurationError: A number is out of its range.
    """
    if max_new_tokens < 1:
        raise ConfigurationError(f"max_new_tokens must be at least 1; got {max_new_tokens}.", argument="max_new_tokens")
    if not 0 <= temperature < float("inf"):
        raise ConfigurationError(f"temperature must be 0 or more; got {temperature}.", argument="temperature")
