"""What noise does to a language model's answers, measured before a run starts: for its sigma, a third and three times.

The centre answers a few prompts. For members, the next token's distribution is compared with the centre's along these
answers: KL(centre || member), in nats per token. Then members answer the prompts themselves.

Axes: B members, K prompts, T tokens of a prompt, N those of an answer, M tokens of all answers, V entries of the
vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.tasks.language.cache_size import at_once
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from distes.tasks.language.noise_effect import COLUMNS, NoiseEffect, warnings_of
from distes.tasks.language.rewards.rewards import Rewards
from distes.tasks.language.tokens import Tokens
from distes.tasks.probed import NoisyMembers, Probed

SCALES = (1 / 3, 1.0, 3.0)  # of sigma
SIZES = ((8, 8), (8, 4), (4, 4), (4, 2), (2, 2))  # members and prompts: the first that the processor can afford
TOKENS = 64  # of an answer, at most
OPERATIONS = {"cpu": 5e11, "cuda": 2e15}  # that a probe may take: half a minute of a core, or some seconds of a GPU
SHARE = 0.25  # of a generation's operations that it may take where these are more
BEYOND = 8  # times as many are too many even for the smallest size


@dataclass(frozen=True, eq=False)
class Probe:
    """The prompts of a probe, and how they are answered and judged.

    Attributes:
        asked_K: The prompts.
        tokens: Translates them.
        decoding: How answers are chosen, with the probe's number of tokens.
        rewards: The reward function.
        formed: The place of `well_formed` among its scores, or None.
        seed: For drawn tokens; all members draw alike.
    """

    asked_K: Sequence[Mapping[str, Any]]
    tokens: Tokens
    decoding: Decoding
    rewards: Rewards
    formed: int | None
    seed: int

    def run(self, noisy: NoisyMembers, members: int) -> Probed:
        """Looks at the centre and at members of each sigma.

        Args:
            noisy: Makes them.
            members: How many of each sigma.

        Raises:
            ConfigurationError: Noise does not reach the model, or the model's own logits are not finite.
        """
        centre = noisy(0.0, 1)
        prompts = self._padded()
        answers = self._answers(centre, prompts)
        logits_MV = next(_along(centre, prompts, answers))
        if not logits_MV.isfinite().all():
            raise ConfigurationError(
                "policy CausalLM: the model's logits are not finite. Numbers of float16 overflow in some models: set "
                "--policy.dtype bfloat16 or float32."
            )
        base = self._judged(0.0, answers, answers, (0.0, 0.0, 0.0))
        effects = [
            self._effect(scale, noisy(scale, members), noisy.sigma, prompts, answers, logits_MV) for scale in SCALES
        ]
        size = {"members": members, "prompts": len(self.asked_K), "max_new_tokens": self.decoding.max_new_tokens}
        about = (
            f"Probe: {members} members for each sigma answer {len(self.asked_K)} training prompts, with at most "
            f"{self.decoding.max_new_tokens} tokens."
        )
        warnings = tuple(warnings_of(base, effects, self._form))
        record = {
            **size,
            "centre": asdict(base),
            "noise": [asdict(effect) for effect in effects],
            "warnings": list(warnings),
        }
        columns = tuple(name.format(form=self._form) for name in COLUMNS)
        return Probed(about, columns, tuple(effect.texts for effect in (base, *effects)), warnings, record)

    @property
    def _form(self) -> str:
        return "ended" if self.formed is None else "well-formed"

    def _padded(self) -> Padded:
        return Padded.of([[self.tokens.prompt(row) for row in self.asked_K]], self.decoding.pad)

    def _answers(self, members: Members, prompts: Padded) -> Answers:
        each = at_once(members, tuple(prompts.tokens_bKT.shape[1:]), self.decoding.max_new_tokens)
        seeds_B = np.full(len(members), self.seed, np.uint64)
        return generate(members, prompts, self.decoding, at_once=each, seeds_B=seeds_B)

    def _effect(
        self, scale: float, members: Members, sigma: float, prompts: Padded, base: Answers, base_MV: Tensor
    ) -> NoiseEffect:
        """What noise of one scale does to the base's distributions, and to the answers."""
        distances = list[tuple[float, float, float]]()
        for logits_MV in _along(members, prompts, base):
            if scale >= 1 and torch.equal(logits_MV, base_MV):
                raise ConfigurationError(
                    f"strategy.sigma: with {sigma:g} the logits of member {len(distances)} equal the centre's to the "
                    "last bit: the noise does not reach the model, or is lost in its dtype. Choose a larger sigma."
                )
            distances.append(_distance(base_MV, logits_MV))
        kl, logits, largest = zip(*distances, strict=True)
        means = float(np.mean(kl)), float(np.mean(logits)), float(np.max(largest))
        return self._judged(scale * sigma, self._answers(members, prompts), base, means)

    def _judged(
        self, sigma: float, answers: Answers, base: Answers, distance: tuple[float, float, float]
    ) -> NoiseEffect:
        """Adds what the reward says of the members' answers."""
        fitness_B, formed_B = np.empty(len(answers.tokens_BKN)), np.empty(len(answers.tokens_BKN))
        failed, failure = 0, ""
        for b, (tokens_KN, lengths_K) in enumerate(zip(answers.tokens_BKN, answers.lengths_BK, strict=True)):
            scored = self.rewards(self.asked_K, self.tokens.answers(tokens_KN, lengths_K))
            fitness_B[b] = np.mean(scored.reward_n)
            failed, failure = failed + scored.failed, failure or scored.first_failure or ""
            ended_K = np.isin(tokens_KN, self.tokens.ends).any(1)
            formed_B[b] = np.mean(ended_K if self.formed is None else scored.scores_nV[:, self.formed])
        changed_BK: NDArray[np.bool_] = (answers.tokens_BKN != base.tokens_BKN).any(2)
        spread = float(np.std(fitness_B, ddof=1)) if len(fitness_B) > 1 else 0.0
        mean, formed = float(np.mean(fitness_B)), float(np.mean(formed_B))
        changed = float(changed_BK.mean())
        return NoiseEffect(sigma, *distance, changed, formed, mean, spread, failed, failure)


def affordable(parameters: int, tokens: int, kind: str, most: int, answers: int) -> tuple[int, int] | None:
    """Returns how many members of each sigma answer how many prompts, or None where even the fewest take too long.

    Args:
        parameters: Those of the model.
        tokens: Of the longest prompt and of an answer together.
        kind: The device, `cpu` or `cuda`.
        most: The most members that there are.
        answers: Those that a generation needs.
    """
    each = 2 * parameters * tokens
    limit = max(OPERATIONS[kind], SHARE * each * answers)
    for members, prompts in SIZES:
        # A member answers, and is compared along the centre's answers.
        cost = 2 * each * prompts * (1 + len(SCALES) * members)
        if cost <= limit or ((members, prompts) == SIZES[-1] and cost <= BEYOND * OPERATIONS[kind]):
            return min(members, most), prompts
    return None


@torch.inference_mode()
def _along(members: Members, prompts: Padded, answers: Answers) -> Iterator[Tensor]:
    """Yields each member's logits of all tokens of the centre's answers, (M, V) float32."""
    device = members.device
    prompt_KT, lengths_K = prompts.rows(np.zeros(1, np.int64), device)
    answer_KN = torch.from_numpy(answers.tokens_BKN[0]).to(device)
    new = int(answers.lengths_BK[0].max())
    tokens_KL = torch.cat([prompt_KT, answer_KN[:, : new - 1]], 1)
    places_L = torch.arange(tokens_KL.shape[1], device=device)
    start_K1 = (prompt_KT.shape[1] - lengths_K).unsqueeze(1)
    counted_KN = torch.arange(new, device=device) < torch.from_numpy(answers.lengths_BK[0]).to(device).unsqueeze(1)
    for b in range(len(members)):
        members.select([b])
        model: Any = members.module().model
        found = model(
            input_ids=tokens_KL,
            position_ids=(places_L - start_K1).clamp(min=0),
            attention_mask=(places_L >= start_K1).long(),
            use_cache=False,
            logits_to_keep=new,
        )
        yield found.logits[counted_KN].float()


def _distance(base_MV: Tensor, logits_MV: Tensor) -> tuple[float, float, float]:
    """KL in nats per token, and the typical and the largest difference of logits; infinity where they overflow."""
    if not logits_MV.isfinite().all():
        return math.inf, math.inf, math.inf
    base, other = torch.log_softmax(base_MV, 1), torch.log_softmax(logits_MV, 1)
    kl = float((base.exp() * (base - other)).sum(1).mean())
    difference = logits_MV - base_MV
    return max(0.0, kl), float(difference.square().mean().sqrt()), float(difference.abs().max())
