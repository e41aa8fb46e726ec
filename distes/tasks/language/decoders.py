"""Models of transformers, called step by step with a cache of keys and values.

Axes: R rows, T tokens of a call, L places of the cache, V entries of the vocabulary.
"""

import functools
import importlib
import inspect
from typing import Any

import torch
from torch import Tensor

from distes.errors import ConfigurationError
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

    def _called(self, tokens_RT: Tensor, positions_RT: Tensor, mask: Any) -> Tensor:
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

    A step of a small model runs hundreds of kernels of a few microseconds each. All rows stay to the end. Where keys
    and values are written, and what a token sees, are tensors that the step is given, since a graph repeats numbers of
    Python as they were when it was recorded. Layers that see a window keep all keys as well, and mask those before it.
    """

    moves = False

    def __init__(self, model: Any, length: int, record: Record | None = None) -> None:
        """Makes an empty cache.

        Args:
            model: The model; its layers may be those of many members.
            length: L, the most tokens of a row.
            record: As `CudaGraphs` takes it.

        Raises:
            ConfigurationError: The model has layers that attend in another way.
        """
        super().__init__(model)
        config = model.config.get_text_config()
        layers = [_placed_layer()(max_cache_len=length) for _ in range(config.num_hidden_layers)]
        self.cache = importlib.import_module("transformers").Cache(layers=layers)
        self._windows, self._named = windows(config)
        self._adds = getattr(config, "_attn_implementation", None) == "eager"  # masks to scores
        self._length, self._graphs = length, CudaGraphs(self._step, after=WARM_UP, record=record)

    def __call__(self, tokens_RT: Tensor, reach: slice, starts_R: Tensor | None) -> Tensor:
        """Returns the logits after the last of the tokens, (R, V); the next call overwrites them."""
        places_T = torch.arange(reach.start, reach.stop, device=tokens_RT.device)
        first_R1 = torch.zeros_like(tokens_RT[:, :1]) if starts_R is None else starts_R.unsqueeze(1)
        positions_RT = (places_T - first_R1).clamp_(min=0)
        masks = [self._mask(places_T, first_R1, window) for window in self._windows.values()]
        inputs = tokens_RT, positions_RT, places_T, *masks
        return self._step(*inputs) if len(places_T) > 1 else self._graphs(*inputs)

    def select(self, kept: Tensor) -> None:
        """Refuses: all rows stay to the end, since a graph has recorded their addresses.

        Raises:
            TypeError: In any case; `moves` is False.
        """
        raise TypeError("A cache at fixed addresses keeps all its rows.")

    def _mask(self, places_T: Tensor, first_R1: Tensor, window: int | None) -> Tensor:
        """What each token sees: (R, 1, T, L), bool, or numbers that are added to scores."""
        places_L, own_T1 = torch.arange(self._length, device=places_T.device), places_T.unsqueeze(1)
        seen_RTL = (places_L <= own_T1) & (places_L >= first_R1.unsqueeze(2))
        if window is not None:
            seen_RTL &= places_L > own_T1 - window
        # Rows of padding see themselves: a row that sees nothing would give NaN.
        seen_RTL |= places_L == own_T1
        if not self._adds:
            return seen_RTL.unsqueeze(1)
        adds = torch.zeros(seen_RTL.shape, device=places_T.device)
        return adds.masked_fill_(~seen_RTL, torch.finfo(adds.dtype).min).unsqueeze(1)

    def _step(self, tokens_RT: Tensor, positions_RT: Tensor, places_T: Tensor, *masks: Tensor) -> Tensor:
        for layer in self.cache.layers:
            layer.places_T = places_T
        mask = dict(zip(self._windows, masks, strict=True)) if self._named else masks[0]
        return self._called(tokens_RT, positions_RT, mask)


def windows(config: Any) -> tuple[dict[str, int | None], bool]:
    """Returns how far tokens see back, by type of layer, and whether the model takes a mask for each type.

    Args:
        config: Of the model's text part. Models with layers of several types name them in `layer_types`.

    Raises:
        ConfigurationError: Layers of the model attend in another way.
    """
    whole, window = "full_attention", "sliding_attention"
    types = getattr(config, "layer_types", None)
    if types is None:
        return {whole: getattr(config, "sliding_window", None)}, False
    if further := sorted(set(types) - {whole, window}):
        raise ConfigurationError(
            f"The layers of {config.model_type} attend by {', '.join(further)}, and on a GPU distes has {whole} and "
            f"{window} only: take another model, or --device cpu."
        )
    seen = {whole: None, window: getattr(config, "sliding_window", None)}
    return {name: seen[name] for name in sorted(set(types))}, window in types


@functools.cache
def _placed_layer() -> Any:
    """The class of a layer's cache whose places are given. Made here, since transformers is slow to import."""
    base: Any = importlib.import_module("transformers.cache_utils").StaticLayer

    class PlacedLayer(base):  # type: ignore[misc]
        places_T: Tensor

        def update(self, keys: Tensor, values: Tensor, *further: Any, **named: Any) -> tuple[Tensor, Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(keys, values)
            self.keys.index_copy_(2, self.places_T, keys)
            self.values.index_copy_(2, self.places_T, values)
            return self.keys, self.values

        def get_seq_length(self, *further: Any) -> int:
            return 0  # positions and masks are given

    return PlacedLayer


def cache_argument(model: Any) -> str:
    """Returns what a model's forward calls the cache: its name changed within transformers 5."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
