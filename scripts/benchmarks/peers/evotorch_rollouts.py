#!/usr/bin/env python3
"""EvoTorch set up as OpenAI-ES, to be compared with rollouts.py: environment steps per second of whole generations.

    python -m venv peer
    peer/bin/pip install torch==2.13.0 evotorch==0.6.1 ray==2.60.0 "gymnasium[mujoco,classic-control]==1.4.0"
    python scripts/benchmarks/speed/rollouts.py --peer peer/bin/python

Two actors, 256 members, 64-64 tanh, symmetric, centred ranks, Adam; the first generation, in which actors start, is not
counted. The mode is the faster one of its two on each environment: VecGymNE (policies in vmap over Gymnasium's vector
environment) where all episodes are of one length, else GymNE.
"""

import argparse
import logging
import os
import time
import warnings

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")

import ray
import torch

NET = "Linear(obs_length, 64) >> Tanh() >> Linear(64, 64) >> Tanh() >> Linear(64, act_length)"
VECTORS = ("HalfCheetah-v5", "Ant-v5", "Swimmer-v5", "Pendulum-v1")


def main() -> None:
    """Prints one line: steps per second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("env")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--members", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    from evotorch.algorithms import PGPE  # here, since --help needs no peer
    from evotorch.neuroevolution import GymNE, VecGymNE

    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    kind = VecGymNE if options.env in VECTORS else GymNE
    normalized = "CartPole" not in options.env
    problem = kind(options.env, NET, observation_normalization=normalized, num_actors=options.actors)
    searcher = PGPE(
        problem,
        popsize=options.members,
        center_learning_rate=0.02,
        stdev_learning_rate=0.0,
        stdev_init=0.05,
        optimizer="adam",
        ranking_method="centered",
        symmetric=True,
    )
    searcher.step()
    steps, started = int(searcher.status["total_interaction_count"]), time.perf_counter()
    elapsed = 0.0
    while elapsed < options.seconds:
        searcher.step()
        elapsed = time.perf_counter() - started
    steps = int(searcher.status["total_interaction_count"]) - steps
    print(f"steps_per_second {steps / elapsed:.1f}", flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main()
