"""A language model of 107,456 parameters that can solve Countdown, and mostly does not: a latent skill to elicit.

It first learns to solve the prompts of the training multisets. Then it learns on from data in which most answers are
lazy: `a + b + c`, whatever the target. What it has learnt before is still in its weights, but greedy decoding seldom
shows it. Both parts are supervised, by AdamW. The held-out multisets occur in neither.

The model is made once, in the user's cache, on one core. It is a function of `Recipe`, of the versions of torch and
transformers, and of the processor's arithmetic.
"""

import hashlib
import importlib.metadata
import itertools
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from distes.errors import ConfigurationError
from distes.errors.installation import install
from distes.noise.global_randomness import seeded
from distes.noise.one_thread import one_thread
from distes.tasks.language.countdown_game import OPERATORS, TARGETS, multisets, orderings, solutions
from distes.tasks.language.made_once import made_once

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

END, PAD = "<end>", "<pad>"
WORDS = [*map(str, TARGETS), *OPERATORS, "=", END, PAD]
IDS = {word: number for number, word in enumerate(WORDS)}
PROMPT = 6  # words of a prompt: `3 5 7 = 22 =`; an answer has five, and the end
SHAPE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}


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


def tiny_model(steps: int = Recipe.steps, lazy_steps: int = Recipe.lazy_steps) -> str:
    """Returns the folder of the tiny model, and makes it if it is missing, in two to three minutes of one core.

    `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer.from_pretrained` read the folder.

    Args:
        steps: Training steps on solutions. Fewer make a model without the skill, for tests.
        lazy_steps: Training steps on data with lazy answers.

    Raises:
        ConfigurationError: transformers is missing, or the user's cache cannot be written to.
    """
    recipe = Recipe(steps, lazy_steps)
    try:
        versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigurationError(f"The tiny model needs transformers: {install('llm')}.") from error
    determined_by = [asdict(recipe), versions, WORDS, SHAPE, multisets(held_out=True)]
    digest = hashlib.sha256(repr(determined_by).encode()).hexdigest()[:12]
    return str(made_once(f"countdown-tiny-{digest}", lambda folder: _save(_trained(recipe), folder)))


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


def _trained(recipe: Recipe) -> "LlamaForCausalLM":
    """Trains the model on one thread."""
    solved, targets, lazy = training_data()
    lazy_targets = one_hot(lazy[:, PROMPT:], len(WORDS)).float()
    generator = torch.Generator().manual_seed(recipe.seed)
    with one_thread():
        model = _untrained(recipe.seed)
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
    return model


def _schedule(recipe: Recipe) -> Iterator[tuple[float, float]]:
    """The learning rate and the share of lazy answers of each step."""
    for step in range(recipe.steps):
        warm = min(1.0, (step + 1) / 100)
        yield recipe.learning_rate * warm * (1 + math.cos(math.pi * step / recipe.steps)) / 2, 0.0
    for _ in range(recipe.lazy_steps):
        yield recipe.lazy_rate, recipe.lazy_share


def _told(steps: list[Any], every: float = 10.0) -> Iterator[Any]:
    """Iterates over the steps of training, and writes progress and the time left to stderr, every few seconds."""
    started = told = time.monotonic()
    print("The tiny model is made once, on one core, in two to three minutes.", file=sys.stderr, flush=True)
    for number, step in enumerate(steps):
        if (now := time.monotonic()) - told >= every:
            left = (now - started) / number * (len(steps) - number)
            print(f"  step {number:,} of {len(steps):,}, {left:.0f} s left", file=sys.stderr, flush=True)
            told = now
        yield step


def _untrained(seed: int) -> "LlamaForCausalLM":
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(WORDS),
        **SHAPE,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=IDS[END],
        pad_token_id=IDS[PAD],
    )
    with seeded(seed):
        return LlamaForCausalLM(config)


def _save(model: "LlamaForCausalLM", folder: Path) -> None:
    """Writes the model and its tokenizer, whose words are separated by spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(IDS))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=END, pad_token=PAD, padding_side="left", clean_up_tokenization_spaces=False
    )
    with _no_progress_bar():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keeps transformers from drawing a progress bar for one small file."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()
