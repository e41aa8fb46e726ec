"""Tiny language models on disk, with prompts and a reward: made once per process in a temporary folder."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

Kind = Literal["llama", "untied", "qwen2", "gpt2"]
KINDS: tuple[Kind, ...] = ("llama", "qwen2", "gpt2")  # all with tied weights
NUMBERS = 50
WORDS = ("<pad>", "<eos>", "<unk>", "<bos>", "user:", "assistant:", "system:", "=", "+", *map(str, range(NUMBERS)))
CHAT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SIDES: dict[str, Any] = {"vocab_size": 64, "eos_token_id": 1, "pad_token_id": 0, "bos_token_id": 3}


def sums(count: int = 60) -> list[dict[str, Any]]:
    """Sums with their result, as prompts of one to three words."""
    made = [{"prompt": f"{a} + {b} =", "target": a + b} for a in range(8) for b in range(8)]
    made += [{"prompt": f"{a} =", "target": a} for a in range(8)]
    return made[::-1][:count]


def reward(prompt: Mapping[str, Any], answer: str) -> dict[str, float]:
    """How many digits there are that are not 0, and whether the first word is the result."""
    digits = sum(character in "123456789" for character in answer)
    return {"reward": digits / 16, "exact": float(answer.split()[:1] == [str(prompt["target"])])}


def length(prompt: Mapping[str, Any], answer: str) -> float:
    """A reward that is a number alone."""
    return float(len(answer))


@lru_cache
def folder(kind: Kind = "llama", width: int = 32) -> str:
    """Returns the folder of a model with random weights and a tokenizer of words, as `save_pretrained` writes it."""
    import transformers

    made = _temporary() / f"{kind}-{width}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = _model(kind, width)
    model.generation_config.eos_token_id = [1, 2]  # as chat models have several
    model.save_pretrained(made)
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", bos_token="<bos>"
    )
    words.chat_template = CHAT
    words.save_pretrained(made)
    return str(made)


def arguments(kind: Kind = "llama", *, policy: Mapping[str, Any] | None = None, **task: Any) -> dict[str, Any]:
    """Returns arguments of `distes.train` for a run of some seconds.

    Args:
        kind: The model.
        policy: Further arguments of the policy.
        task: Further arguments of the task.
    """
    return {
        "task": {
            "class_path": "Language",
            "init_args": {
                "prompts": f"{__name__}.sums",
                "reward": f"{__name__}.reward",
                "scores": ["exact"],
                "max_new_tokens": 6,
                "prompts_per_generation": 8,
                "reward_seconds": None,
                **task,
            },
        },
        "policy": {"class_path": "CausalLM", "init_args": {"path": folder(kind), **(policy or {})}},
        "perturbation": "LowRank",
        "strategy": {"class_path": "OpenAIES", "init_args": {"population_size": 8, "sigma": 0.05}},
        "noise": {"size": 200_000},
        "workers": 0,
        "quiet": True,
    }


@lru_cache
def _temporary() -> Path:
    made = Path(tempfile.mkdtemp(prefix="distes-tiny-language-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _model(kind: Kind, width: int) -> Any:
    import transformers

    if kind == "gpt2":
        gpt2 = transformers.GPT2Config(
            n_positions=64, n_embd=width, n_layer=2, n_head=4, initializer_range=0.3, **SIDES
        )
        return transformers.GPT2LMHeadModel(gpt2)
    sides: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,  # so that answers differ
        "tie_word_embeddings": kind != "untied",
        **SIDES,
    }
    if kind == "qwen2":
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**sides))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sides))


def _tokenizer() -> Any:
    import tokenizers

    numbered = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbered, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return made
