"""Every class of the package that the contract suites run over, with one or more ways to make it.

`test_registry.py` compares these tables with what the package folders hold: a new file belongs in here.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distes.members.sensitivity import Sensitivity
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.dense_by_tensor import DenseByTensor
from distes.perturbations.low_rank import LowRank
from distes.policies.cnn import CNN
from distes.policies.layout import Layout
from distes.policies.linear import Linear
from distes.policies.mlp import MLP
from distes.policies.recurrent import Recurrent
from distes.policies.subnetwork import Subnetwork
from distes.policies.virtual_batch_norm import set_reference
from distes.strategies.ars import ARS
from distes.strategies.base import Strategy
from distes.strategies.bernoulli_es import BernoulliES
from distes.strategies.deep_ga import DeepGA
from distes.strategies.gans import GANS
from distes.strategies.guided_es import GuidedES
from distes.strategies.lm_ma_es import LMMAES
from distes.strategies.novelty_es import NSES, NSRES
from distes.strategies.nsra_es import NSRAES
from distes.strategies.openai_es import OpenAIES
from distes.strategies.pgpe import PGPE
from distes.strategies.random_search import RandomSearch
from distes.strategies.safe_es import SafeES
from distes.strategies.sep_cmaes import SepCMAES
from distes.strategies.snes import SNES
from distes.tasks.base import Task
from distes.tasks.functions import Function
from distes.tasks.gym.gym import Gym
from distes.tasks.language.language import Language
from distes.tasks.supervised.supervised import Supervised
from tests.support.small import DRIFT

PERTURBATIONS: Mapping[str, Callable[[NoiseTable, Layout], Perturbation]] = {
    "Dense": Dense,
    "DenseByTensor": DenseByTensor,
    "LowRank": LowRank,
    "LowRank, rank 2": partial(LowRank, rank=2),
}


def answering(centre_P: NDArray[Any]) -> Callable[[], Sensitivity]:
    """That of a policy which answers its own parameters."""
    return lambda: Sensitivity(Linear(1, len(centre_P), bias=False), [np.ones((1, 1), np.float32)])


# (centre_P, perturbation, seed) -> strategy, of some 32 members and a sigma that suits the sphere
STRATEGIES: Mapping[str, Callable[[NDArray[Any], Perturbation, int], Strategy]] = {
    "OpenAIES": lambda centre_P, noise, seed: OpenAIES(centre_P, noise, seed, learning_rate=0.05),
    "OpenAIES, SGD with momentum": lambda centre_P, noise, seed: OpenAIES(
        centre_P,
        noise,
        seed,
        optimizer="SGD",
        optimizer_args={"momentum": 0.9},
        learning_rate=0.3,
        l2_coeff=0.01,
    ),
    "OpenAIES, SGD": lambda centre_P, noise, seed: OpenAIES(centre_P, noise, seed, optimizer="SGD", learning_rate=1.0),
    "OpenAIES, decay towards the start": lambda centre_P, noise, seed: OpenAIES(
        centre_P, noise, seed, learning_rate=0.05, l2_coeff=0.01, decay_towards="initial"
    ),
    "OpenAIES, z-scores": lambda centre_P, noise, seed: OpenAIES(
        centre_P, noise, seed, fitness_shaping="zscore", learning_rate=0.05
    ),
    "OpenAIES, signs": lambda centre_P, noise, seed: OpenAIES(
        centre_P, noise, seed, fitness_shaping="sign", learning_rate=0.05
    ),
    "OpenAIES, raw": lambda centre_P, noise, seed: OpenAIES(
        centre_P, noise, seed, fitness_shaping="raw", learning_rate=0.05
    ),
    "ARS": lambda centre_P, noise, seed: ARS(
        centre_P, noise, seed, population_size=32, sigma=0.1, learning_rate=0.02, top_directions=8
    ),
    "ARS, ClipUp": lambda centre_P, noise, seed: ARS(
        centre_P,
        noise,
        seed,
        population_size=32,
        sigma=0.1,
        learning_rate=0.02,
        optimizer="ClipUp",
        optimizer_args={"max_speed": 0.03},
    ),
    "ARS, all directions": lambda centre_P, noise, seed: ARS(
        centre_P, noise, seed, population_size=32, sigma=0.1, learning_rate=0.02
    ),
    "DeepGA": lambda centre_P, noise, seed: DeepGA(
        centre_P,
        noise,
        seed,
        population_size=32,
        sigma=0.05,
        parents=5,
        candidates=3,
        validation_episodes=2,
        initialization="he",
    ),
    "DeepGA, single scores": lambda centre_P, noise, seed: DeepGA(
        centre_P, noise, seed, population_size=32, sigma=0.05, parents=5, validation_episodes=0, initialization="he"
    ),
    **{
        f"DeepGA, {mutation}": partial(
            lambda centre_P, noise, seed, mutation: DeepGA(
                centre_P,
                noise,
                seed,
                answering(centre_P),
                population_size=32,
                sigma=0.05,
                parents=5,
                validation_episodes=2,
                initialization="he",
                mutation=mutation,
            ),
            mutation=mutation,
        )
        for mutation in ("sm_g_abs", "sm_r")
    },
    "SafeES": lambda centre_P, noise, seed: SafeES(centre_P, noise, seed, answering(centre_P), learning_rate=0.05),
    # It sees signs alone, so noise must be as wide as the sphere.
    "BernoulliES": lambda centre_P, noise, seed: BernoulliES(
        centre_P, noise, seed, population_size=32, learning_rate=0.05
    ),
    "GANS": lambda centre_P, noise, seed: GANS(
        centre_P,
        noise,
        seed,
        population_size=32,
        sigma=0.05,
        parents=5,
        candidates=3,
        validation_episodes=2,
        initialization="he",
        archive_probability=0.1,
    ),
    "RandomSearch": lambda centre_P, noise, seed: RandomSearch(
        centre_P, noise, seed, population_size=32, candidates=3, validation_episodes=2, initialization="he"
    ),
    "NSES": lambda centre_P, noise, seed: NSES(centre_P, noise, seed, learning_rate=0.05),
    "NSRES": lambda centre_P, noise, seed: NSRES(centre_P, noise, seed, learning_rate=0.05),
    "NSRES, in turn": lambda centre_P, noise, seed: NSRES(
        centre_P, noise, seed, learning_rate=0.05, agents=2, selection="round_robin"
    ),
    "NSRAES": lambda centre_P, noise, seed: NSRAES(centre_P, noise, seed, learning_rate=0.05),
    "GuidedES": lambda centre_P, noise, seed: GuidedES(centre_P, noise, seed, subspace=3, learning_rate=0.05),
    "GuidedES, decay towards the start": lambda centre_P, noise, seed: GuidedES(
        centre_P, noise, seed, subspace=3, learning_rate=0.05, l2_coeff=0.01, decay_towards="initial"
    ),
    "NSRES, decay towards the start": lambda centre_P, noise, seed: NSRES(
        centre_P, noise, seed, learning_rate=0.05, l2_coeff=0.01, decay_towards="initial", agents=2, rollouts=2
    ),
    "BernoulliES, decay towards the start": lambda centre_P, noise, seed: BernoulliES(
        centre_P, noise, seed, population_size=32, learning_rate=0.05, l2_coeff=0.001, decay_towards="initial"
    ),
    "GuidedES, little everywhere": lambda centre_P, noise, seed: GuidedES(
        centre_P, noise, seed, alpha=0.1, subspace=5, optimizer="SGD", learning_rate=1.0
    ),
    "SNES": lambda centre_P, noise, seed: SNES(centre_P, noise, seed, population_size=32),
    "SNES, mirrored": lambda centre_P, noise, seed: SNES(centre_P, noise, seed, population_size=32, mirrored=True),
    "SepCMAES": lambda centre_P, noise, seed: SepCMAES(centre_P, noise, seed, population_size=32),
    "LMMAES": lambda centre_P, noise, seed: LMMAES(centre_P, noise, seed, population_size=32),
    "LMMAES, usual population": lambda centre_P, noise, seed: LMMAES(centre_P, noise, seed, memory=3),
    "PGPE": lambda centre_P, noise, seed: PGPE(centre_P, noise, seed, population_size=32, learning_rate=0.05),
    "PGPE, Adam": lambda centre_P, noise, seed: PGPE(
        centre_P,
        noise,
        seed,
        population_size=32,
        radius=0.3,
        learning_rate=0.05,
        sigma_learning_rate=0.2,
        fitness_shaping="zscore",
        optimizer="Adam",
    ),
    "PGPE, constant sigma": lambda centre_P, noise, seed: PGPE(
        centre_P, noise, seed, population_size=32, learning_rate=0.05, sigma_learning_rate=0.0, fitness_shaping="raw"
    ),
}
# By class, what may be left of the squared distance of 10 from the top of a sphere after 150 generations, where that is
# not FOR_MOST: those that also look for something new are restless at the top, and None is for who looks for nothing
# else.
FOR_MOST = 0.1
LEFT_ON_A_SPHERE: Mapping[str, float | None] = {
    "GANS": None,
    "NSES": None,
    "NSRES": 1.0,
    "RandomSearch": 3.0,  # from 20, the mean of its members
}


def referred(policy: nn.Module, shape: tuple[int, ...], count: int = 16) -> nn.Module:
    """A policy with a reference batch, of which one number in ten is far from the others."""
    numbers = np.random.default_rng(5)
    rows_KO = numbers.standard_normal((count, *shape), dtype=np.float32)
    set_reference(policy, rows_KO + 3 * (numbers.random(rows_KO.shape) < 0.1).astype(np.float32))
    return policy


def subnetwork(shape: tuple[int, ...], actions: int, class_path: str = "MLP", **arguments: Any) -> Subnetwork:
    """A subnetwork with normal scores; arguments that are not its own are the network's."""
    own = {name: arguments.pop(name) for name in ("weights", "mask", "density", "rescale") if name in arguments}
    of = {"class_path": class_path, "init_args": arguments}
    return Subnetwork(int(np.prod(shape)), shape, actions, of=of, initial_scores="normal", **own)


# The policy, and the shape of what it sees. Sizes that are no multiple of a vector unit's width are the hard ones.
POLICIES: Mapping[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Linear": (lambda: Linear(17, 6, initial_scale=1.0), (17,)),
    "Linear, no bias": (lambda: Linear(4, 2, bias=False, initial_scale=1.0), (4,)),
    "Linear, images": (lambda: Linear(3 * 5 * 4, 3, initial_scale=1.0), (3, 5, 4)),
    "MLP": (lambda: MLP(17, 6, output_scale=1.0), (17,)),
    "MLP, odd sizes": (lambda: MLP(5, 3, hidden_sizes=[13, 50, 7]), (5,)),
    "MLP, relu": (lambda: MLP(11, 3, hidden_sizes=[19], activation="relu"), (11,)),
    "MLP, elu": (lambda: MLP(11, 3, hidden_sizes=[19], activation="elu"), (11,)),
    "MLP, silu": (lambda: MLP(11, 3, hidden_sizes=[19], activation="silu"), (11,)),
    "MLP, no hidden layer": (lambda: MLP(9, 4, hidden_sizes=[]), (9,)),
    "Recurrent": (lambda: Recurrent(17, 6), (17,)),
    "Recurrent, odd sizes": (lambda: Recurrent(5, 3, hidden_size=9, output_scale=1.0), (5,)),
    "CNN": (
        lambda: CNN((4, 20, 24), 6, channels=[8, 5], kernels=[5, 3], strides=[2, 1], hidden_size=20),
        (4, 20, 24),
    ),
    "CNN, padding same": (
        lambda: CNN((4, 21, 24), 6, channels=[8, 5], kernels=[8, 4], strides=[4, 3], hidden_size=20, padding="same"),
        (4, 21, 24),
    ),
    "MLP, virtual batch": (lambda: referred(MLP(17, 6, output_scale=1.0, normalization="virtual_batch"), (17,)), (17,)),
    "MLP, virtual batch, odd sizes": (
        lambda: referred(MLP(5, 3, hidden_sizes=[13, 50, 7], normalization="virtual_batch"), (5,), 37),
        (5,),
    ),
    "CNN, virtual batch": (
        lambda: referred(
            CNN(
                (4, 20, 24),
                6,
                channels=[8, 5],
                kernels=[5, 3],
                strides=[2, 1],
                hidden_size=9,
                normalization="virtual_batch",
            ),
            (4, 20, 24),
        ),
        (4, 20, 24),
    ),
    "CNN, virtual batch, so large that members run one by one": (
        lambda: referred(
            CNN((2, 44, 40), 6, channels=[6], kernels=[8], strides=[2], hidden_size=9, normalization="virtual_batch"),
            (2, 44, 40),
            11,
        ),
        (2, 44, 40),
    ),
    # Each runs a network of its own, whose parameters are a function of what is searched.
    "Subnetwork": (lambda: subnetwork((17,), 6), (17,)),
    "Subnetwork, kaiming_normal, rescaled": (
        lambda: subnetwork((5,), 3, hidden_sizes=[13, 50, 7], weights="kaiming_normal", rescale="dynamic"),
        (5,),
    ),
    "Subnetwork, top_k": (lambda: subnetwork((11,), 3, mask="top_k", density=0.3, weights="glorot_normal"), (11,)),
    "Subnetwork, bernoulli": (lambda: subnetwork((9,), 4, mask="bernoulli"), (9,)),
    "Subnetwork, CNN": (
        lambda: subnetwork(
            (4, 20, 24), 6, "CNN", channels=[8, 5], kernels=[5, 3], strides=[2, 1], hidden_size=20, mask="top_k"
        ),
        (4, 20, 24),
    ),
    "Subnetwork, Recurrent": (lambda: subnetwork((17,), 6, "Recurrent"), (17,)),
    "Subnetwork, virtual batch": (
        lambda: referred(subnetwork((17,), 6, normalization="virtual_batch", rescale="dynamic"), (17,)),
        (17,),
    ),
}
# Modules of the package that are parts of policies; and language models, which take tokens and no observations: their
# members are compared with the model of transformers in tests/members/test_language_families.py.
LAYERS_OF_POLICIES = {"VirtualBatchNorm"}
TAKE_TOKENS = {"CausalLM"}

PROMPTS: dict[str, Any] = {
    "prompts": "tests.support.tiny_language.sums",
    "reward": "tests.support.tiny_language.reward",
    "scores": ["exact"],
    "max_new_tokens": 5,
    "prompts_per_generation": 6,
    "reward_seconds": None,
}
TASKS: Mapping[str, Callable[[], Task]] = {
    "Function, sphere": lambda: Function("sphere", dimension=7),
    "Function, ellipsoid": lambda: Function("ellipsoid", dimension=7),
    "Function, rosenbrock": lambda: Function("rosenbrock", dimension=7),
    "Function, rastrigin": lambda: Function("rastrigin", dimension=7),
    "Function, ackley": lambda: Function("ackley", dimension=7),
    **{
        f"Supervised, {batches}": partial(lambda batches: Supervised("digits", batch_size=60, batches=batches), batches)
        for batches in ("shared", "own", "no_mini_batch")
    },
    "Supervised, all rows": lambda: Supervised("digits", batch_size=None, test=0.6, fitness="accuracy"),
    "Language, shared": lambda: Language(**PROMPTS),
    "Language, own, drawn": lambda: Language(**PROMPTS, draws="own", temperature=1.0),
    "Gym, CartPole": lambda: Gym("CartPole-v1", max_steps=60, slots=5, stepping="one_by_one"),
    "Gym, batched CartPole": lambda: Gym("CartPole-v1", max_steps=60),
    "Gym, batched Drift": lambda: Gym(
        "tests.support.environments.Drifts",
        episodes_per_member=2,
        action_noise=0.3,
        reward_shift=0.1,
        normalize_observations=True,
    ),
    "Gym, vectors of Drift": lambda: Gym(
        "tests.support.environments.vector_drift",
        slots=7,
        action_noise=0.3,
        reward_shift=0.1,
        normalize_observations=True,
        log_info=["lost", "distance:sum"],
    ),
    "Gym, bins": lambda: Gym(
        DRIFT, slots=5, episodes_per_member=2, action_bins="uniform:3", action_noise=0.3, sample_actions="always"
    ),
    "Gym, batched bins": lambda: Gym(
        "tests.support.environments.Drifts",
        episodes_per_member=2,
        action_bins="uniform:3",
        action_noise=0.3,
        sample_actions="always",
    ),
    "Gym, masks": lambda: Gym(
        "tests.support.choices.Forbidding", slots=5, action_mask="action_mask", sample_actions="training"
    ),
    "Gym, batched masks": lambda: Gym(
        "tests.support.choices.ForbiddingRows", action_mask="action_mask", sample_actions="training"
    ),
    "Gym, bits": lambda: Gym("tests.support.choices.Bits", slots=5, sample_actions="training"),
    "Gym, vectors of bits": lambda: Gym("tests.support.choices.vector_bits", slots=7, sample_actions="training"),
    "Gym, rewards": lambda: Gym(DRIFT, slots=5, normalize_rewards=True, reward_clip=0.5),
    "Gym, batched rewards": lambda: Gym("tests.support.environments.Drifts", reward_sign=True),
    "Gym, Drift": lambda: Gym(
        DRIFT,
        slots=5,
        episodes_per_member=2,
        action_noise=0.3,
        reward_shift=0.1,
        normalize_observations=True,
        log_info=["lost", "distance:mean"],
    ),
}

POOLS = ("SerialPool", "RayPool", "AutoPool")  # made in test_pools.py
