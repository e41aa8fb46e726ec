"""Models of transformers, called step by step with a cache of keys and values.

Axes: R rows, T tokens of a call, L places of the cache, V entries of the vocabulary.
"""

import importlib
import inspect
from typing import Any

import torch
from torch import Tensor

from distes.members.cuda_graph import WARM_UP, CudaGraphs, Record


class Decoder:
    """With a cache that grows, and from which rows can be taken."""

    moves = True  # whether `select` can be called

    def __init__(self, model: Any) -> None:
        """Makes an empty cache.

        Args:
            model: The model; its layers may be those of many members.
        """
        self._model, self._name = model, cache_argument(model)
        self.cache: Any = importlib.import_module("transformers").DynamicCache(config=model.config)

    def __call__(self, tokens_RT: Tensor, reach: slice, starts_R: Tensor | None) -> Tensor:
        """Returns the logits after the last of the tokens, (R, V).

        Args:
            tokens_RT: The tokens at the places `reach` of their rows.
            reach: It begins where the last call's ended.
            starts_R: The place of each row's first token; None if that is 0 in all of them.
        """
        places_T = torch.arange(reach.start, reach.stop, device=tokens_RT.device)
        mask_RL = None
        if starts_R is None:
            positions_RT = places_T.expand(tokens_RT.shape)
        else:
            positions_RT = (places_T - starts_R.unsqueeze(1)).clamp_(min=0)
            mask_RL = (torch.arange(reach.stop, device=tokens_RT.device) >= starts_R.unsqueeze(1)).long()
        return self._called(tokens_RT, positions_RT, mask_RL)

    def select(self, kept: Tensor) -> None:
        """Goes on with some of the rows."""
        self.cache.batch_select_indices(kept)

    def _called(self, tokens_RT: Tensor, positions_RT: Tensor, mask: Tensor | None) -> Tensor:
        answer = self._model(
            input_ids=tokens_RT,
            position_ids=positions_RT,
            attention_mask=mask,
            use_cache=True,
            logits_to_keep=1,
            **{self._name: self.cache},
        )
        logits_RV: Tensor = answer.logits[:, -1]
        return logits_RV


class StaticDecoder(Decoder):
    """With a cache at fixed addresses: on a GPU the kernels of a step are launched together, as a CUDA graph.

    A step of a small model runs hundreds of kernels of a few microseconds each. All rows stay to the end.
    """

    moves = False

    def __init__(self, model: Any, length: int, record: Record | None = None) -> None:
        """Makes an empty cache.

        Args:
            model: The model; its layers may be those of many members.
            length: L, the most tokens of a row.
            record: As `CudaGraphs` takes it.
        """
        super().__init__(model)
        self.cache = importlib.import_module("transformers").StaticCache(config=model.config, max_cache_len=length)
        self._length, self._graphs = length, CudaGraphs(self._called, after=WARM_UP, record=record)

    def __call__(self, tokens_RT: Tensor, reach: slice, starts_R: Tensor | None) -> Tensor:
        """Returns the logits after the last of the tokens, (R, V); the next call overwrites them."""
        places_T = torch.arange(reach.start, reach.stop, device=tokens_RT.device)
        places_L = torch.arange(self._length, device=tokens_RT.device)
        first_R1 = torch.zeros_like(tokens_RT[:, :1]) if starts_R is None else starts_R.unsqueeze(1)
        seen_RTL = (places_L <= places_T.unsqueeze(1)) & (places_L >= first_R1.unsqueeze(2))
        # Rows of padding see themselves: a row that sees nothing would give NaN.
        seen_RTL |= places_L == places_T.unsqueeze(1)
        positions_RT = (places_T - first_R1).clamp_(min=0)
        inputs = tokens_RT, positions_RT, seen_RTL.unsqueeze(1)
        return self._called(*inputs) if len(places_T) > 1 else self._graphs(*inputs)

    def select(self, kept: Tensor) -> None:
        """Cannot.

        Raises:
            TypeError: Always.
        """
        raise TypeError("A cache at fixed addresses keeps all its rows.")


def cache_argument(model: Any) -> str:
    """Returns what a model's forward calls the cache: its name changed within transformers 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
