"""Tiny language models of many families, made from their configurations with random weights, once per process."""

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.members.forward import Forward
from distes.members.gaussian import GaussianRows
from distes.members.members import Members, population_forward
from distes.noise.table import NoiseTable
from distes.perturbations.base import Perturbation
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.language.causal_lm import CausalLM, Dtype
from distes.policies.language.pretrained import quietly
from distes.policies.layout import Layout

VOCABULARY = 97
SIDES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
GROUPED = {**SIDES, "num_key_value_heads": 2}
HEADS = {**GROUPED, "head_dim": 8}
GPT2 = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {  # the configuration's class in transformers, and its arguments
    "llama": ("LlamaConfig", {**GROUPED, "tie_word_embeddings": False}),
    "llama, tied": ("LlamaConfig", {**GROUPED, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", HEADS),
    "gpt2": ("GPT2Config", {**GPT2, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}),
    "gemma": ("GemmaConfig", HEADS),
    "gemma2": ("Gemma2Config", HEADS),
    "gemma3": ("Gemma3TextConfig", HEADS),
    "mistral": ("MistralConfig", GROUPED),
    "mistral, window": ("MistralConfig", {**GROUPED, "sliding_window": 4}),
    "gemma3, window": ("Gemma3TextConfig", {**HEADS, "sliding_window": 4, "sliding_window_pattern": 2}),
    "phi": ("PhiConfig", SIDES),
    "phi3": ("Phi3Config", SIDES),
    "olmo2": ("Olmo2Config", SIDES),
    "neox": ("GPTNeoXConfig", SIDES),
}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("OPTConfig", {**SIDES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "mixtral": ("MixtralConfig", {**GROUPED, "num_local_experts": 2}),
}
EAGER = ("gemma2",)  # have no other implementation of attention


@lru_cache
def folder(family: str) -> str:
    """Returns the folder of a model of a family. All its parameters are random, so that none can be forgotten."""
    import transformers

    name, arguments = {**FAMILIES, **REFUSED}[family]
    made = _temporary() / family.replace(", ", "-")
    with torch.random.fork_rng(devices=[]), quietly():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**arguments))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
        model.save_pretrained(made)
    return str(made)


class Family:
    """A model, and its members.

    Attributes:
        policy: The policy, with the model's weights.
        layout: Of its parameters.
        forward: Its population forward.
        perturbation: Makes directions.
        centre_P: The model's weights.
    """

    def __init__(
        self, family: str = "llama, tied", *, rank: int | None = 1, dtype: Dtype = "float32", size: int = 2**19
    ) -> None:
        self.policy = CausalLM(folder(family), dtype=dtype, attention="eager" if family in EAGER else "sdpa")
        self.layout = Layout(self.policy)
        self.forward: Forward = population_forward(self.policy, self.layout, (1,))
        noise = NoiseTable(size=size, seed=0)
        self.perturbation: Perturbation = (
            Dense(noise, self.layout) if rank is None else LowRank(noise, self.layout, rank=rank)
        )
        self.centre_P = self.layout.flatten(self.policy)

    def members(
        self,
        ids: Sequence[int],
        signs: Sequence[int],
        sigma: float = 0.05,
        centre_P: NDArray[np.float32] | None = None,
        forward: Forward | None = None,
    ) -> Members:
        rows = GaussianRows(self.perturbation, sigma, np.array(ids, np.int64), np.array(signs, np.int64))
        centre_P = self.centre_P if centre_P is None else centre_P
        return Members(forward or self.forward, self.perturbation, centre_P, rows)

    def model_of(self, parameters_P: NDArray[np.float32]) -> Any:
        """The model of transformers with a member's weights; the next call changes it."""
        self.layout.load(self.policy, parameters_P)
        return self.policy.model

    def alone(self, parameters_P: NDArray[np.float32], tokens_RT: torch.Tensor) -> torch.Tensor:
        """The logits of one member, by the model of transformers itself."""
        with torch.inference_mode():
            logits_RTV: torch.Tensor = self.model_of(parameters_P)(input_ids=tokens_RT, use_cache=False).logits
        return logits_RTV


@lru_cache
def _temporary() -> Path:
    made = Path(tempfile.mkdtemp(prefix="distes-model-families-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made
