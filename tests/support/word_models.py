"""The models of `model_families` with a tokenizer of words, and prompts and rewards for them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tests.support.model_families import VOCABULARY, folder

WORDS = ("<pad>", "<eos>", "<unk>", *(f"w{number}" for number in range(3, VOCABULARY)))
SMALL = {f"w{number}" for number in range(3, 50)}


@lru_cache
def words(family: str = "llama, tied") -> str:
    """Returns the folder of a model of a family, with a tokenizer whose tokens are words, `w3` to `w96`."""
    import tokenizers
    import transformers

    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    found.save_pretrained(folder(family))
    return folder(family)


def model() -> str:
    """As the function that `policy.path` may name."""
    return words()


def prompts(count: int = 40) -> list[dict[str, Any]]:
    """Prompts of one to four words."""
    return [{"prompt": " ".join(f"w{3 + (7 * n + k) % 90}" for k in range(1 + n % 4))} for n in range(count)]


def share_of_small(prompt: Mapping[str, Any], answer: str) -> dict[str, float]:
    """The share of small words, and whether there is no other; answers without words have neither."""
    found = answer.split()
    small = sum(word in SMALL for word in found)
    return {"reward": small / max(1, len(found)), "well_formed": float(bool(found) and small == len(found))}


def constant(prompt: Mapping[str, Any], answer: str) -> float:
    return 0.25


def language(**task: Any) -> dict[str, Any]:
    """Arguments of `distes.train` for a run of some seconds.

    Args:
        task: Further arguments of the task.
    """
    arguments = {
        "prompts": f"{__name__}.prompts",
        "reward": f"{__name__}.share_of_small",
        "scores": ["well_formed"],
        "max_new_tokens": 6,
        "prompts_per_generation": 8,
        "reward_seconds": None,
        **task,
    }
    return {
        "task": {"class_path": "Language", "init_args": arguments},
        "policy": {"class_path": "CausalLM", "init_args": {"path": words()}},
        "perturbation": "LowRank",
        "strategy": {"class_path": "OpenAIES", "init_args": {"population_size": 16, "sigma": 0.05}},
        "noise": {"size": 2**19},
        "workers": 0,
    }
