"""A baseline without any step: the best of many random perturbations, after RandOpt (arXiv 2603.12228).

A member is the base plus Gaussian noise on all weights, sigma by sigma in turn. It answers prompts of the training
numbers, greedily. The members with the highest mean reward are kept: the best one, and the best ten, who vote. Nothing
is chosen by held-out prompts.
"""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from scripts.benchmarks.peers.answers import TinyModel, rewards

SIGMAS = (0.005, 0.01, 0.02, 0.04)
PROMPTS, KEPT = 200, 10

Member = tuple[float, int]  # reward, number


class RandomPerturbations:
    """Members of one base, each a function of its number.

    Args:
        model: The base; its weights become those of the member that was evaluated last.
        seed: Of the prompts and the noise.
    """

    def __init__(self, model: TinyModel, seed: int) -> None:
        self._model, self._seed = model, seed
        self._base = [weight.detach().clone() for weight in model.network.parameters()]
        draw = np.random.default_rng(seed)
        self._prompts = [model.train[at] for at in draw.choice(len(model.train), PROMPTS, replace=False)]
        self.best: list[Member] = []

    def evaluations(self) -> Iterator[int]:
        """Evaluates members without end, and keeps the best.

        Yields:
            A member's number, from 0.
        """
        number = 0
        while True:
            self.put_in(number)
            _, texts = self._model.answers(self._prompts)
            self.best = sorted([*self.best, (float(rewards(self._prompts, texts).mean()), number)], reverse=True)[:KEPT]
            yield number
            number += 1

    def put_in(self, number: int) -> None:
        """Gives the model the weights of a member."""
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        sigma = SIGMAS[number % len(SIGMAS)]
        with torch.no_grad():
            for weight, base in zip(self._model.network.parameters(), self._base, strict=True):
                weight.copy_(base + sigma * torch.randn(base.shape, generator=generator))

    def held_out(self) -> dict[str, float]:
        """The exact match on held-out prompts, of the best member and of the vote of the best ten."""
        prompts, answers = self._model.test, []
        for _, number in self.best:
            self.put_in(number)
            answers.append(self._model.answers(prompts)[1])
        votes = [Counter(texts).most_common(1)[0][0] for texts in zip(*answers, strict=True)]
        exact = [float((rewards(prompts, texts) == 1).mean()) for texts in (answers[0], votes)]
        return {"best": exact[0], "vote": exact[1], "sigma": SIGMAS[self.best[0][1] % len(SIGMAS)]}
