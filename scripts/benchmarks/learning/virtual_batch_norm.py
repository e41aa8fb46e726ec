#!/usr/bin/env python3
"""Atari games with and without virtual batch normalisation: returns, and whether actions depend on what is seen.

    python scripts/benchmarks/learning/virtual_batch_norm.py [--game Freeway] [--pixels 42] [--seeds 0] [--seconds 600]
        [--workers 1] [--max_steps 500] [--population 32] [--sigma 0.02] [--learning_rate 0.01]
        [--only none|virtual_batch] [--json FILE]

The games run in envpool (extra: envpool), four frames to an action; the network is a small one, on 42 x 42 or 84 x 84
pixels. A policy that ignores its input answers every state with the same action. The shares printed are those of states
whose action is not the policy's most frequent one, over states of random play: the mean over random members before
training, and that of the last centre and over the members around it.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import distes
from distes.noise.draws import Stream, draw
from distes.policies.layout import Layout
from distes.policies.virtual_batch_norm import OBSERVATIONS, set_reference
from scripts.benchmarks.report import Table, command_line, keep

POLICY = {"channels": [8, 16], "hidden_size": 64, "output_scale": 1.0}
WINDOWS = {42: {"kernels": [6, 4], "strides": [3, 2]}, 84: {"kernels": [8, 4], "strides": [4, 2]}}
NORMALIZATIONS = ("none", "virtual_batch")
STATES, MEMBERS = 512, 32  # by which the share of other actions is measured
FRAMES = 4  # to an action


def share(module: torch.nn.Module, states: torch.Tensor) -> float:
    """The share of states in which a policy's action is not its most frequent one.

    Args:
        module: From observations to scores of actions.
        states: (K, channels, height, width).
    """
    with torch.no_grad():
        actions = module(states).argmax(1)
    return 1 - float(torch.bincount(actions).max()) / len(actions)


def share_of_members(module: torch.nn.Module, states: torch.Tensor, sigma: float) -> float:
    """The mean share over members around a policy, which is left as it was."""
    layout, numbers = Layout(module), np.random.default_rng(0)
    centre_P: NDArray[np.float32] = layout.flatten(module)
    shares = []
    for _ in range(MEMBERS):
        layout.load(module, centre_P + np.float32(sigma) * numbers.standard_normal(layout.size, dtype=np.float32))
        shares.append(share(module, states))
    layout.load(module, centre_P)
    return float(np.mean(shares))


def run(normalization: str, seed: int, options: Any) -> dict[str, Any]:
    """One training, within the time given.

    Args:
        normalization: The policy's.
        seed: The run's.
        options: The command line's.
    """
    size = {"img_height": options.pixels, "img_width": options.pixels}
    task = distes.Gym(f"envpool:{options.game}-v5", env_kwargs=size, max_steps=options.max_steps)
    network: dict[str, Any] = {**POLICY, **WINDOWS[options.pixels], "normalization": normalization}
    states = torch.from_numpy(task.reference_observations(STATES, 12345 + seed))
    torch.manual_seed(seed)
    first = distes.CNN(task.observation_shape, task.action_size, **network)
    drawn = int(draw(seed, 0, Stream.REFERENCE_BATCH, 1)[0])  # as a run draws it
    set_reference(first, task.reference_observations(OBSERVATIONS, drawn))
    before = share_of_members(first, states, options.sigma)
    curve: list[dict[str, float]] = []

    def note(metrics: dict[str, Any], fitness_N2: NDArray[np.float64]) -> None:
        keys = ("generation", "timesteps", "fitness/mean", "fitness/max", "eval/mean")
        curve.append({key: metrics[key] for key in keys if key in metrics and metrics[key] is not None})

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained = distes.train(
            task,
            policy="CNN",
            **network,
            strategy="OpenAIES",
            population_size=options.population,
            chunk_size=max(2, options.population // max(1, options.workers)) // 2 * 2,
            sigma=options.sigma,
            learning_rate=options.learning_rate,
            l2_coeff=0.005,
            seed=seed,
            workers=options.workers,
            generations=None,
            max_seconds=options.seconds,
            eval_episodes=2,
            eval_every=10,
            final_episodes=16,
            target_fitness=float("inf"),
            run_dir=str(Path(folder) / "run"),
            callbacks=[note],
            quiet=True,
        )
        last = trained.load("last")
        result = trained.result
        module = last.module.policy
    return {
        "game": options.game,
        "steps": options.max_steps,
        "normalization": normalization,
        "seed": seed,
        "seconds": round(time.perf_counter() - started),
        "generations": len(curve),
        "frames": int(FRAMES * curve[-1]["timesteps"]),
        "first fitness": curve[0]["fitness/mean"],
        "last fitness": float(np.mean([one["fitness/mean"] for one in curve[-5:]])),
        "final": result.eval_mean,
        "final std": result.eval_std,
        "share before": before,
        "share of the last centre": share(module, states),
        "share of its members": share_of_members_of(module, first, states, options.sigma),
        "curve": curve[:: max(1, len(curve) // 20)],
    }


def share_of_members_of(module: Any, first: torch.nn.Module, states: torch.Tensor, sigma: float) -> float:
    """The mean share over members around a trained policy, with the reference batch of the first one."""
    first.load_state_dict(module.state_dict())
    return share_of_members(first, states, sigma)


def main() -> None:
    """Prints a row per run."""
    parser = command_line(__doc__)
    parser.add_argument("--game", default="Freeway")
    parser.add_argument("--pixels", type=int, choices=list(WINDOWS), default=42)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max_steps", type=int, default=500)
    parser.add_argument("--population", type=int, default=32)
    parser.add_argument("--sigma", type=float, default=0.02)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--only", nargs="+", choices=NORMALIZATIONS, default=NORMALIZATIONS)
    options = parser.parse_args()
    table = Table(
        ("normalization", "<15"),
        ("seed", ">5"),
        ("frames", ">12,"),
        ("fitness at first", ">18.2f"),
        ("at last", ">9.2f"),
        ("final", ">8.2f"),
        ("share before", ">14.1%"),
        ("centre's", ">10.1%"),
        ("members'", ">10.1%"),
    )
    rows = []
    for seed in options.seeds:
        for normalization in options.only:
            row = run(normalization, seed, options)
            rows.append(row)
            shares = row["share before"], row["share of the last centre"], row["share of its members"]
            returns = row["first fitness"], row["last fitness"], row["final"]
            table.row(normalization, seed, row["frames"], *returns, *shares)
    keep(options.json, rows)


if __name__ == "__main__":
    main()
