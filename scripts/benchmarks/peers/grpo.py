#!/usr/bin/env python3
"""A baseline with gradients, after GRPO (arXiv 2402.03300): the tiny model of Countdown, on one thread.

    python scripts/benchmarks/peers/grpo.py [--seconds 60] [--rate 1e-3] [--seed 0]

A step draws 64 prompts and samples 8 answers to each. An answer's advantage is its reward in standard deviations from
the mean of its group of 8. The loss is the mean over the sampled tokens of -advantage x log probability, with neither
clipping of ratios, since each batch is used once, nor a divergence from the base. AdamW makes the step.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from scripts.benchmarks.peers.answers import TinyModel, repeated, rewards  # noqa: E402, after the path
from scripts.benchmarks.report import Table, command_line  # noqa: E402

PROMPTS, SAMPLES, RATE = 64, 8, 1e-3


def steps(model: TinyModel, seed: int, rate: float = RATE) -> Iterator[float]:
    """Trains the model, step by step, without end.

    Yields:
        The mean reward of a step's samples.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.network.parameters(), rate, weight_decay=0.0)
    end, pad = model.network.config.eos_token_id, model.network.config.pad_token_id
    while True:
        prompts = [model.train[at] for at in draw.choice(len(model.train), PROMPTS, replace=False)]
        rows, texts = model.answers(prompts, samples=SAMPLES)
        reward_KG = rewards(repeated(prompts, SAMPLES), texts).reshape(PROMPTS, SAMPLES)
        spread = reward_KG.std(1, keepdims=True)
        advantage = torch.from_numpy((reward_KG - reward_KG.mean(1, keepdims=True)) / (spread + 1e-4)).float()
        start = model.ids(prompts[:1]).shape[1]
        logits = model.network(rows[:, :-1], use_cache=False).logits[:, start - 1 :]
        tokens = rows[:, start:]
        log_probability = logits.log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
        # the end is sampled, what follows it is padding
        sampled = (tokens != pad) & ((tokens == end).cumsum(1) - (tokens == end).int() == 0)
        loss = -(advantage.flatten()[:, None] * log_probability * sampled).sum() / sampled.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
        optimizer.step()
        yield float(reward_KG.mean())


def main() -> None:
    """Prints the reward of samples and the exact match of greedy answers as training goes on."""
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, without the tests")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = TinyModel()
    table = Table(("step", ">6"), ("core-s", ">8.1f"), ("reward", ">8.3f"), ("held out, exact", ">17.3f"))
    table.row(0, 0.0, None, model.scores(model.test)["exact"])
    spent, shown = 0.0, 0.0
    training, started = steps(model, options.seed, options.rate), time.process_time()
    for step, mean in enumerate(training, 1):
        spent = time.process_time() - started
        if spent - shown >= options.seconds / 10:
            table.row(step, spent, mean, model.scores(model.test)["exact"])
            started, shown = time.process_time() - spent, spent
        if spent >= options.seconds:
            break


if __name__ == "__main__":
    main()
