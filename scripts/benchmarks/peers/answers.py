"""The tiny model of Countdown outside distes: its answers by `generate` of transformers, and their scores."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.tasks.language.countdown import reward, test_prompts, tiny_model, train_prompts

TOKENS = 6  # an answer and its end
Prompts = Sequence[Mapping[str, Any]]


class TinyModel:
    """A copy of the tiny model, and the prompts.

    Attributes:
        network: The model of transformers.
        train: The prompts for training.
        test: The held-out prompts.
    """

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = tiny_model()
        self.network = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
        self.train, self.test = train_prompts(), test_prompts()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)

    def ids(self, prompts: Prompts) -> Tensor:
        """Tokens of prompts, (prompts, 6)."""
        return self._tokenizer([one["prompt"] for one in prompts], return_tensors="pt").input_ids

    def answers(self, prompts: Prompts, *, samples: int = 0) -> tuple[Tensor, list[str]]:
        """Generates answers: the greedy one of each prompt, or samples at temperature 1, prompt by prompt.

        Returns:
            Prompts with their answers as tokens, (answers, tokens), and the answers' texts.
        """
        ids = self.ids(prompts).repeat_interleave(max(samples, 1), 0)
        how: dict[str, Any] = {"do_sample": True, "top_k": 0, "top_p": 1.0} if samples else {"do_sample": False}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = self.network.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, **how)
        return rows, self._tokenizer.batch_decode(rows[:, ids.shape[1] :], skip_special_tokens=True)

    def scores(self, prompts: Prompts, *, samples: int = 0) -> dict[str, float]:
        """The means of an answer's reward and scores."""
        _, texts = self.answers(prompts, samples=samples)
        found = [reward(prompt, text) for prompt, text in zip(repeated(prompts, samples), texts, strict=True)]
        return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def repeated(prompts: Prompts, samples: int) -> list[Mapping[str, Any]]:
    """Each prompt as often as it has samples."""
    return [prompt for prompt in prompts for _ in range(max(samples, 1))]


def rewards(prompts: Prompts, texts: Sequence[str]) -> NDArray[np.float64]:
    """The rewards of answers, (answers,)."""
    return np.array([reward(prompt, text)["reward"] for prompt, text in zip(prompts, texts, strict=True)])
