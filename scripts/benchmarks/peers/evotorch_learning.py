#!/usr/bin/env python3
"""EvoTorch set up as OpenAI-ES, to be compared with learning.py: seconds and timesteps of training, and the score.

    python -m venv peer
    peer/bin/pip install torch==2.13.0 evotorch==0.6.1 ray==2.60.0 "gymnasium[mujoco,classic-control]==1.4.0"
    peer/bin/python scripts/benchmarks/peers/evotorch_learning.py cartpole --seed 1
    peer/bin/python scripts/benchmarks/peers/evotorch_learning.py halfcheetah_1m --seed 1 [--json FILE]

One run per call; the runs that FILE has already are kept. `cartpole` stops once the centre's mean over 20 episodes is
475, tested when the population's mean passes 300 and every tenth generation; `halfcheetah_1m` after 1e6 timesteps, with
10 episodes. Testing the centre is outside the seconds and the timesteps. It needs an environment of its own, and is not
part of `make bench`.
"""

import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # distes is not installed beside the peer

from scripts.benchmarks.report import command_line, keep, read

CASES = {
    "cartpole": {"env": "CartPole-v1", "members": 64, "learning_rate": 0.05, "episodes": 20},
    "halfcheetah_1m": {"env": "HalfCheetah-v5", "members": 16, "learning_rate": 0.02, "episodes": 10},
}


def score(problem: Any, centre: torch.Tensor, env: str, episodes: int) -> float:
    """Mean return of the centre without any noise."""
    policy, environment, returns = problem.to_policy(centre).float(), gymnasium.make(env), []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=10_000 + episode)
        total, ended = 0.0, False
        while not ended:
            with torch.no_grad():
                numbers = policy(torch.as_tensor(observation, dtype=torch.float32)).numpy()
            action = int(numbers.argmax()) if env == "CartPole-v1" else numbers
            observation, reward, terminated, truncated, _ = environment.step(action)
            total, ended = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def main() -> None:
    """Trains once and prints a line."""
    parser = command_line(__doc__)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    from evotorch.algorithms import PGPE  # here, since --help needs no peer
    from evotorch.neuroevolution import GymNE, VecGymNE

    case = CASES[options.case]
    env, cartpole = case["env"], options.case == "cartpole"
    torch.set_num_threads(1)
    net = "Linear(obs_length, 64) >> Tanh() >> Linear(64, 64) >> Tanh() >> Linear(64, act_length)"
    kind = GymNE if cartpole else VecGymNE  # the faster of the two on each
    problem = kind(env, net, observation_normalization=not cartpole, num_actors=2)
    torch.manual_seed(options.seed)  # the problem's own seed breaks its actors in 0.6.1
    searcher = PGPE(
        problem,
        popsize=case["members"],
        center_learning_rate=case["learning_rate"],
        stdev_learning_rate=0.0,
        stdev_init=0.05,
        optimizer="adam",
        ranking_method="centered",
    )
    seconds, generation, ended, mean = 0.0, 0, False, float("nan")
    while not ended:
        started = time.perf_counter()
        searcher.step()
        seconds += time.perf_counter() - started
        generation += 1
        timesteps = int(searcher.status["total_interaction_count"])
        promising = cartpole and (float(searcher.status["mean_eval"]) > 300 or generation % 10 == 0)
        if promising or timesteps >= 1e6:
            mean = score(problem, searcher.status["center"], env, case["episodes"])
            ended = not cartpole or mean >= 475
    print(
        f"{options.case} seed {options.seed}: score {mean:,.1f}, {timesteps:,} timesteps, {generation} generations, "
        f"{seconds:.1f} s of training"
    )
    row = {"case": options.case, "seed": options.seed, "score": mean, "timesteps": timesteps, "seconds": seconds}
    if options.json:
        keep(options.json, [*(read(options.json) if options.json.exists() else []), row])


if __name__ == "__main__":
    main()
