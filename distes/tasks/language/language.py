"""Prompts, answers and rewards: fitness is the mean reward of a language model's answers.

Axes: B members evaluated together, K prompts, T tokens of a prompt, V scalars.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from torch import nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.population import Evaluation, Purpose
from distes.runs.units import Units
from distes.tasks import mini_batches
from distes.tasks.base import Outcome, Request
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.data_task import DataTask
from distes.tasks.language.answering import Answering, language_model
from distes.tasks.language.decoders import windows
from distes.tasks.language.examination import Examination
from distes.tasks.language.normalization import normalized_per_prompt
from distes.tasks.language.probe import SIZES, TOKENS, Probe, affordable
from distes.tasks.language.prompts.prompts import Prompts, digest
from distes.tasks.language.prompts.texts import read_texts
from distes.tasks.language.rewards.rewards import Rewards
from distes.tasks.probed import NoisyMembers, Probed

WELL_FORMED = "well_formed"  # the score of that name says whether an answer has the form that is asked for
LENGTH, ENDED, FAILED, PERPLEXITY = "answer_length", "ended", "failed_rewards", "perplexity"


class Language(DataTask):
    """Fine-tunes a language model: fitness is the mean reward of its answers to prompts.

    Members answer prompts of the training part; the centre, without noise, all of the validation part; and the last
    centre all of the test part, which decides nothing.

    Attributes:
        prompts: The prompts in these three parts.
        rewards: The reward function.
        answering: Lets members answer prompts.
        examine: Lets members answer prompts, and rates each answer.
    """

    def __init__(
        self,
        prompts: str | list[dict[str, Any]] | Callable[..., Any] = "distes.tasks.language.countdown.train_prompts",
        reward: str | Callable[..., Any] = "distes.tasks.language.countdown.reward",
        *,
        prompts_args: dict[str, Any] | None = None,
        test_prompts: str | list[dict[str, Any]] | Callable[..., Any] | None = None,
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
        """Reads no prompts yet, and imports no function; the text whose perplexity is measured is read at once.

        Args:
            prompts: A .jsonl file with an object per line; the import path of a function that returns a sequence of
                them; or the objects themselves. Each has a `prompt`, a text, or `messages`, a chat; and any further
                fields for the reward.
            reward: The import path of a function of a prompt's object and an answer, a text, that returns a number, or
                a dict with the key `reward` and the keys of scores. Greater is better.
            prompts_args: Arguments of the function that prompts names.
            test_prompts: A file, a function or the objects of the test part; null splits one off.
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
                members. Then easy and hard prompts count alike; four bytes per answer travel.
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
        self.answering = Answering(max_new_tokens, temperature, chat_template=chat_template, system=system)
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
        text = None if perplexity_text is None else read_texts(perplexity_text)
        self.examine = Examination(self.answering, self.rewards, self.prompts, text)
        self._draws, self._per_generation = draws, prompts_per_generation
        self._source, self._per_prompt, self._text, self._probes = prompts, normalize_per_prompt, text, probe

    def check(self) -> None:
        """Reads the prompts, and calls the reward once for each of the first ones.

        Raises:
            ConfigurationError: They cannot be read, the reward is not as it must be, or no prompt is a chat that the
                system message could begin.
        """
        rows = self.prompts.part(Purpose.TRAIN)
        if self.answering.system is not None and not (
            self.answering.chat_template or any("messages" in row for row in rows)
        ):
            raise ConfigurationError(
                "system begins chats, and no training prompt is one: set chat_template true, give `messages`, or leave "
                "it out.",
                argument="system",
            )
        self.rewards.check(rows)

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
            self.answering.check_lengths(policy, self.prompts.part(purpose))

    def check_device(self, policy: nn.Module, device: str) -> None:
        """Checks that the attention of the model's layers is known on a GPU, whose cache stands at fixed addresses.

        Raises:
            ConfigurationError: It is not.
        """
        if device != "cpu" and isinstance(policy, CausalLM):
            windows(policy.config.get_text_config())

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
        """(1,): prompts are texts, of which a policy sees the tokens."""
        return (1,)

    @property
    def action_size(self) -> int:
        """1: answers are texts, and no numbers of a policy are read as actions."""
        return 1

    @property
    def units(self) -> Units:
        """Tokens and answers."""
        return Units("token", "answer", "tokens", "answers")

    @property
    def scalars(self) -> tuple[str, ...]:
        """The reward's scores, what is known of the answers' form, and of a centre its perplexity."""
        return (*self.rewards.scores, LENGTH, ENDED, FAILED, PERPLEXITY)

    @property
    def centre_scalars(self) -> tuple[str, ...]:
        """The perplexity, and the length of answers, which of members is the length of an episode."""
        return (LENGTH, PERPLEXITY)

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
            LENGTH: "tokens of an answer, its end included; of the population that is `episode/length`",
            ENDED: "share of answers that ended before `max_new_tokens`",
            FAILED: "share of answers whose reward raised or took too long, and counted `worst_reward`",
            PERPLEXITY: "perplexity of the held-out text; it grows as training makes the model forget",
        }
        return known.get(scalar, f"mean `{scalar}` of the answers, as the reward reports it")

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """A few pairs: a member already has a batch of prompts."""
        return ChunkPairs(4, 16)

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
        drawn_bK = mini_batches.drawn(request, self._draws, len(rows), self._per_generation)
        found = self.examine(members, [[rows[i] for i in drawn_K] for drawn_K in drawn_bK.tolist()], request)
        steps_B, episodes = found.lengths_BK.sum(1), len(members) * drawn_bK.shape[1]
        behaviour_BK = found.values_BKV[:, :, 0].astype(np.float32) if self._per_prompt else None
        fitness_B, scalars_BV = found.means_BV[:, 0].copy(), found.means_BV[:, 1:].astype(np.float32)
        if request.training:
            scalars_BV[:, len(self.rewards.scores)] = np.nan  # the length; see centre_scalars
        return Outcome(fitness_B, steps_B, episodes, behaviour_BD=behaviour_BK, scalars_BV=scalars_BV)

    def probe(self, noisy: NoisyMembers) -> Probed | None:
        """Compares a few members with the centre, on a few training prompts; see `distes.tasks.language.probe`."""
        if not self._probes:
            return None
        centre, rows = noisy(0.0, 1), self.prompts.part(Purpose.TRAIN)
        policy = language_model(centre)
        tokens, decoding = self.answering.tokens(policy), self.answering.decoding(policy, TOKENS)
        most = min(SIZES[0][1], self._per_generation or len(rows), len(rows))
        asked = [rows[i] for i in mini_batches.shared(noisy.common_seed, len(rows), most)]
        longest = max(len(tokens.prompt(row)) for row in asked) + decoding.max_new_tokens
        answers = noisy.limit * (self._per_generation or len(rows))
        size = affordable(noisy.parameters, longest, centre.device.type, noisy.limit, answers)
        if size is None:
            return Probed(f"No probe: it would take too long for {noisy.parameters:,} parameters on this processor.")
        scores = self.rewards.scores
        formed = scores.index(WELL_FORMED) if WELL_FORMED in scores else None
        return Probe(asked[: size[1]], tokens, decoding, self.rewards, formed, noisy.common_seed).run(noisy, size[0])
