"""A search of masks: independent bits, each with a probability, and the gradient in these probabilities.

The masks are those of Zhou, Lan, Liu and Yosinski 2019, "Deconstructing Lottery Tickets: Zeros, Signs, and the
Supermask", arXiv:1905.01067, section 5.1, who draw each bit with a probability of its own and learn these by
backpropagation. Here the gradient is the score function's (Williams 1992, doi:10.1007/BF00992696), from fitness alone,
and the probability is Phi(s), a probit, in place of their sigmoid.

Axes: P connections, N antithetic pairs, 2 the signs (+, -).
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from distes.noise.one_thread import one_thread
from distes.perturbations.base import Perturbation
from distes.population import Floats
from distes.strategies.arguments import require_dense
from distes.strategies.gradient import GradientES
from distes.strategies.update.estimate import Estimate
from distes.strategies.update.optimizer import FlatOptimizer
from distes.strategies.update.schedules import schedule_of
from distes.strategies.update.shaping import shaping


class BernoulliES(GradientES):
    """Searches a mask: draws its bits, and learns the probability of each (masks as in Zhou et al. 2019).

    One generation, with a score s for each bit, phi and Phi the standard normal density and distribution function:

        eps_i ~ N(0, I)
        b_i+, b_i- = [s + eps_i > 0], [s - eps_i > 0]      each bit is 1 with the probability Phi(s)
        F_i+, F_i- = fitness(b_i+), fitness(b_i-)
        u = fitness_shaping(F)
        m(1), m(0) = phi(s) / Phi(s), -phi(s) / (1 - Phi(s))
        g = 1 / 2N sum_i (u_i+ m(b_i+) + u_i- m(b_i-))
        s <- optimizer(s, g - l2_coeff s)

    m(b) is the mean of the noise given the bit. `OpenAIES` on the same scores weighs by the noise itself, of which only
    the bit can have mattered: this estimate has the same mean and less variance. Scores are in units of the noise, so
    there is no sigma, and a learning rate that falls keeps them from growing until no bit is ever tried.

    Take it for a `Subnetwork` with the mask `threshold`, which is what it is for.
    """

    searches_bits = True

    def __init__(
        self,
        centre_P: NDArray[np.float32],
        perturbation: Perturbation,
        seed: int = 0,
        *,
        population_size: int = 256,
        learning_rate: float | dict[str, Any] = 0.1,
        l2_coeff: float = 0.0,
        decay_towards: Literal["zero", "initial"] = "zero",
        fitness_shaping: Literal["centered_rank", "zscore", "sign", "raw", "centered_sign_rank"] = "centered_rank",
        optimizer: str = "Adam",
        optimizer_args: dict[str, Any] | None = None,
        timesteps_per_generation: int | None = None,
        max_population: int | None = None,
    ) -> None:
        """Starts in generation 0 at given scores.

        Args:
            centre_P: The initial scores, (P,) float32; copied. At 0, each bit is 1 half of the time.
            perturbation: Numbered directions; Dense ones, since each bit is drawn by itself.
            seed: The seed of the run.
            population_size: Members per generation; even, since they come in antithetic pairs.
            learning_rate: Learning rate of the optimiser, in units of scores: a number or a schedule such as {schedule:
                cosine, start: 0.3, end: 0.03, generations: 400}.
            l2_coeff: Weight decay of the scores, which pulls probabilities towards 1/2.
            decay_towards: Where weight decay pulls to: zero, or the initial scores.
            fitness_shaping: How utilities are made from fitness. `centered_sign_rank` ranks the sums of the signs of
                rewards, in place of returns.
            optimizer: Name of a class in torch.optim, ClipUp, or an import path.
            optimizer_args: Further arguments of the optimiser.
            timesteps_per_generation: Evaluate rounds of population_size members until they have taken this many
                environment steps; null for one round.
            max_population: Start no round that would exceed this many members; null for no limit.
        """
        require_dense(perturbation, type(self).__name__)
        rate = schedule_of("learning_rate", learning_rate)
        self._shape, self.ranks_signs = shaping(fitness_shaping), fitness_shaping == "centered_sign_rank"
        super().__init__(
            perturbation,
            seed,
            FlatOptimizer(optimizer, centre_P, rate.start, optimizer_args or {}),
            population_size=population_size,
            sigma=schedule_of("sigma", 1.0),
            learning_rate=rate,
            l2_coeff=l2_coeff,
            decay_towards=decay_towards,
            timesteps_per_generation=timesteps_per_generation,
            max_population=max_population,
        )

    def _estimate(self, fitness_N2: NDArray[np.float64]) -> Estimate:
        """Returns the utilities of both members of each pair, since their bits are not each other's opposites."""
        utility_N2 = self._shape(fitness_N2)
        probability_P = _phi(self.centre_P)
        metrics = {"mask/kept": float(probability_P.mean()), "mask/entropy": float(_entropy(probability_P).mean())}
        return Estimate(utility_N2, utility_N2.size, metrics)

    def _gradient(self, ids_N: NDArray[np.int64], estimate: Estimate) -> Floats:
        estimate.require_finite()
        scores_P, utility_N2, bits = self.centre_P, estimate.weights_N, self._perturbation.weighted_bits
        # Sums of the utilities of members that have the bit: s + eps > 0, and s - eps > 0, which is not eps >= s.
        positive_P = bits(ids_N, utility_N2[:, 0], -scores_P)
        dropped_P = bits(ids_N, utility_N2[:, 1], np.nextafter(scores_P, np.float32(-np.inf)))
        total, of_negatives = utility_N2.sum(), utility_N2[:, 1].sum()
        kept_P = positive_P.astype(np.float64) + (of_negatives - dropped_P)
        if_kept_P, if_dropped_P = noise_given_bit(scores_P)
        sum_P = if_kept_P * kept_P + if_dropped_P * (total - kept_P)
        gradient_P: Floats = (sum_P / estimate.divisor).astype(np.float32)
        return gradient_P


def noise_given_bit(scores_P: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the mean of standard normal noise eps given that s + eps > 0, and given that it is not, (P,) each.

    They are phi(s) / Phi(s) and -phi(s) / (1 - Phi(s)), by the scaled complementary error function, which has no
    quotient of two numbers near 0.
    """
    with one_thread():  # the last bits of a number depend on its place in a thread's part
        s_P = torch.from_numpy(scores_P.astype(np.float64)) / math.sqrt(2)
        scale = math.sqrt(2 / math.pi)
        return (scale / torch.special.erfcx(-s_P)).numpy(), (-scale / torch.special.erfcx(s_P)).numpy()


def _phi(scores_P: Floats) -> NDArray[np.float64]:
    with one_thread():
        probability_P: NDArray[np.float64] = torch.special.ndtr(torch.from_numpy(scores_P.astype(np.float64))).numpy()
    return probability_P


def _entropy(probability_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """The entropy of bits, in bits."""
    parts = [p * np.log2(np.where(p > 0, p, 1)) for p in (probability_P, 1 - probability_P)]
    entropy_P: NDArray[np.float64] = -(parts[0] + parts[1])
    return entropy_P
