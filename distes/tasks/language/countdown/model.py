"""A language model of 107,456 parameters that can solve Countdown, and mostly does not: a latent skill to elicit.

It first learns to solve the prompts of the training multisets. Then it learns on from data in which most answers are
lazy: `a + b + c`, whatever the target. What it has learnt before is still in its weights, but greedy decoding seldom
shows it. Both parts are supervised, by AdamW. The held-out multisets occur in neither.

The model is made once, in the user's cache, on one core. It is a function of `Recipe`, of the versions of torch and
transformers, and of the processor's arithmetic.
"""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distes.errors import ConfigurationError
from distes.errors.installation import install
from distes.noise.global_randomness import seeded
from distes.tasks.language.countdown.game import multisets
from distes.tasks.language.countdown.made_once import made_once
from distes.tasks.language.countdown.training import END, IDS, PAD, WORDS, Recipe, train

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

SHAPE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}


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
    return str(made_once(f"countdown-tiny-{digest}", lambda folder: _make(recipe, folder)))


def _make(recipe: Recipe, folder: Path) -> None:
    model = _untrained(recipe.seed)
    train(model, recipe)
    _save(model, folder)


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
