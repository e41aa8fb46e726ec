"""A language model as a policy: transformers' modules, with weights that are searched.

Axes: R rows, T tokens, V entries of the vocabulary.
"""

import copy
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from distes.policies.language import pretrained, tied

TINY = "distes.tasks.language.countdown.tiny_model"
Dtype = Literal["float32", "bfloat16", "float16"]


class CausalLM(nn.Module):
    """A causal language model that transformers can load, for the task Language.

    All weights are searched, as float32 on the driver. Workers receive the model's structure without weights, and run
    it with the centre that they are sent, or that they compute themselves (`sync: replay`).

    Attributes:
        path: Where the model came from.
        dtype: What members are computed in.
        model: The model of transformers.
    """

    def __init__(
        self, path: str = TINY, *, dtype: Dtype = "float32", attention: Literal["sdpa", "eager"] = "sdpa"
    ) -> None:
        """Loads the model.

        Args:
            path: A folder that save_pretrained of transformers has written, a GGUF file (converted once, into
                ~/.cache/distes), or the import path of a function without arguments that returns such a folder. Workers
                on other nodes read the tokenizer there.
            dtype: What members are computed in; the centre and its updates stay float32.
            attention: transformers' implementation of attention.
        """
        super().__init__()
        self.path, self.dtype = path, dtype
        self.model: Any = pretrained.model(path, attention)
        tied.list_once(self)

    @property
    def folder(self) -> Path:
        """The folder on this machine."""
        return pretrained.folder_of(self.path)

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, which each process loads when it first needs it."""
        return pretrained.tokenizer(self.path)

    @property
    def digests(self) -> dict[str, str]:
        """A digest of each file beside the weights that answers depend on, by name."""
        return pretrained.digests(self.path)

    @property
    def config(self) -> Any:
        """Transformers' configuration of the model."""
        return self.model.config

    def forward(self, tokens_RT: Tensor) -> Tensor:
        """Maps tokens, integers (R, T), to the logits of the token after each, (R, T, V)."""
        logits_RTV: Tensor = self.model(input_ids=tokens_RT, use_cache=False).logits
        return logits_RTV

    def skeleton(self) -> "CausalLM":
        """Returns a copy whose parameters hold no numbers, which is small to send."""
        empty = {id(one): nn.Parameter(one.detach().to("meta"), requires_grad=False) for one in self.parameters()}
        return copy.deepcopy(self, memo=dict(empty))
