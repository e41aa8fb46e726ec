"""The training of the tiny model of Countdown: its words, its data, and the loop.

A row is a prompt of the training multisets, an answer, and the end. The loss is that of the answer and the end.
"""

import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from distes.noise.one_thread import one_thread
from distes.tasks.language.countdown.game import OPERATORS, TARGETS, multisets, orderings, solutions

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

END, PAD = "<end>", "<pad>"
WORDS = [*map(str, TARGETS), *OPERATORS, "=", END, PAD]
IDS = {word: number for number, word in enumerate(WORDS)}
PROMPT = 6  # words of a prompt: `3 5 7 = 22 =`; an answer has five, and the end


@dataclass(frozen=True)
class Recipe:
    """How the model is trained; with the versions of the libraries, it determines the model.

    Attributes:
        steps: Steps of AdamW on solutions.
        lazy_steps: Further steps, on data with lazy answers.
        lazy_share: The share of lazy answers in that data.
        batch_size: Rows per step.
        learning_rate: The highest learning rate; a cosine lowers it to 0 in `steps`.
        lazy_rate: The learning rate of the further steps.
        weight_decay: Of AdamW.
        seed: Of the initial weights, and of the rows that are drawn.
    """

    steps: int = 2800
    lazy_steps: int = 300
    lazy_share: float = 0.6
    batch_size: int = 128
    learning_rate: float = 8e-3
    lazy_rate: float = 5e-4
    weight_decay: float = 0.3
    seed: int = 0


def training_data() -> tuple[Tensor, Tensor, Tensor]:
    """Returns all solutions of all training prompts as ids, how each could go on, and the lazy answers.

    A prompt has several solutions. A position's target is therefore the distribution of its word over all solutions
    with the same words before it: the gradient has the same mean as with one word, and less noise.

    Returns:
        Solutions, (rows, 12): a prompt, an answer, and the end. Their targets, (rows, 6, words), distributions. Lazy
        answers to the same prompts, (rows, 12).
    """
    solved, targets, lazy = [], [], []
    for multiset in multisets(held_out=False):
        answers = {target: _encoded(*found) for target, found in solutions(multiset).items()}
        next_words = {target: _next_words(found) for target, found in answers.items()}
        for (a, b, c), target in itertools.product(orderings(multiset), answers):
            rows = len(answers[target])
            prompt = _encoded(f"{a} {b} {c} = {target} =")[:, :-1].expand(rows, -1)
            solved.append(torch.cat([prompt, answers[target]], 1))
            targets.append(next_words[target])
            lazy.append(torch.cat([prompt, _encoded(f"{a} + {b} + {c}").expand(rows, -1)], 1))
    return torch.cat(solved), torch.cat(targets), torch.cat(lazy)


def _next_words(answers: Tensor) -> Tensor:
    """The distribution of each word of each answer, over the answers with the same words before it."""
    found = []
    for place in range(answers.shape[1]):
        same = (answers[:, None, :place] == answers[:, :place]).all(-1).float()
        found.append(same @ one_hot(answers[:, place], len(WORDS)).float() / same.sum(1, keepdim=True))
    return torch.stack(found, 1)


def _encoded(*texts: str) -> Tensor:
    """The ids of texts with equally many words, and the end."""
    return torch.tensor([[IDS[word] for word in (*text.split(), END)] for text in texts])


def train(model: "LlamaForCausalLM", recipe: Recipe) -> None:
    """Trains a model in place, on one thread, and writes progress to stderr."""
    solved, targets, lazy = training_data()
    lazy_targets = one_hot(lazy[:, PROMPT:], len(WORDS)).float()
    generator = torch.Generator().manual_seed(recipe.seed)
    with one_thread():
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
        for rate, lazy_share in _told(list(_schedule(recipe))):
            for group in optimizer.param_groups:
                group["lr"] = rate
            drawn = torch.randint(len(solved), (recipe.batch_size,), generator=generator)
            is_lazy = torch.rand(recipe.batch_size, 1, generator=generator) < lazy_share
            rows = torch.where(is_lazy, lazy[drawn], solved[drawn])
            wanted = torch.where(is_lazy[..., None], lazy_targets[drawn], targets[drawn])
            logits = model(rows[:, :-1], logits_to_keep=rows.shape[1] - PROMPT, use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), wanted.flatten(0, 1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _schedule(recipe: Recipe) -> Iterator[tuple[float, float]]:
    """The learning rate and the share of lazy answers of each step."""
    for step in range(recipe.steps):
        warm = min(1.0, (step + 1) / 100)
        yield recipe.learning_rate * warm * (1 + math.cos(math.pi * step / recipe.steps)) / 2, 0.0
    for _ in range(recipe.lazy_steps):
        yield recipe.lazy_rate, recipe.lazy_share


def _told(steps: list[tuple[float, float]], every: float = 10.0) -> Iterator[tuple[float, float]]:
    """Iterates over the steps of training, and writes progress and the time left to stderr, every few seconds."""
    started = told = time.monotonic()
    print("The tiny model is made once, on one core, in two to three minutes.", file=sys.stderr, flush=True)
    for number, step in enumerate(steps):
        if (now := time.monotonic()) - told >= every:
            left = (now - started) / number * (len(steps) - number)
            print(f"  step {number:,} of {len(steps):,}, {left:.0f} s left", file=sys.stderr, flush=True)
            told = now
        yield step
