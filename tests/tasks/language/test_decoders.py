"""A cache at fixed addresses, and graphs of its steps, give the logits of a cache that grows.

CUDA's own graphs are in test_on_cuda.py. Axes: R rows, T tokens of a call, V entries of the vocabulary.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distes.errors import ConfigurationError
from distes.members.cuda_graph import WARM_UP
from distes.tasks.language.decoders import Decoder, StaticDecoder, windows
from distes.tasks.language.generation import Padded
from tests.support.model_families import FAMILIES, Family
from tests.tasks.language.test_generation import IDS, PAD, PROMPTS, SIGNS, made

STEPS = 10


class Recorder:
    """As a CUDA graph: what is recorded does not run, and a replay runs with the numbers of Python as recorded."""

    def __init__(self) -> None:
        self.replayed = 0
        self.decoder: Any = None

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        layers = self.decoder.cache.layers
        memory = [(x, x.clone()) for layer in layers for x in vars(layer).values() if isinstance(x, Tensor)]
        plain = [self._numbers(layer) for layer in layers]
        output = call()
        for mine, before in memory:
            mine.copy_(before)
        output.fill_(float("nan"))

        def replay() -> None:
            self.replayed += 1
            for layer, numbers in zip(layers, plain, strict=True):
                vars(layer).update(numbers)
            output.copy_(call())

        return output, replay

    @staticmethod
    def _numbers(layer: Any) -> dict[str, int]:
        return {name: value for name, value in vars(layer).items() if isinstance(value, int)}


def rows_of(family: Family, prompts: list[list[int]]) -> tuple[Any, Tensor, Tensor | None]:
    """A model of many members, its rows, and where they begin."""
    members = family.members(IDS, SIGNS)
    members.select(np.arange(len(IDS)))
    bound: Any = members.module()
    tokens_RT, lengths_R = Padded.of([prompts], PAD).rows(np.arange(len(IDS)), members.device)
    starts_R = tokens_RT.shape[1] - lengths_R
    return bound.model, tokens_RT, starts_R if starts_R.any() else None


@pytest.mark.parametrize("prompts", [PROMPTS, [[21, 22, 23, 24]] * 2], ids=["padded", "of one length"])
@pytest.mark.parametrize("recorded", [False, True], ids=["called", "recorded"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.inference_mode()
def test_equals_a_cache_that_grows(name: str, recorded: bool, prompts: list[list[int]]) -> None:
    model, tokens_RT, starts_R = rows_of(made(name), prompts)
    width, recorder = tokens_RT.shape[1], Recorder()
    growing, fixed = Decoder(model), StaticDecoder(model, width + STEPS + 3, recorder if recorded else None)
    recorder.decoder, reach = fixed, slice(0, width)
    for _ in range(STEPS):
        expected_RV, got_RV = growing(tokens_RT, reach, starts_R), fixed(tokens_RT, reach, starts_R)
        torch.testing.assert_close(got_RV, expected_RV, rtol=0, atol=1e-5 * float(expected_RV.abs().max()))
        tokens_RT, reach = expected_RV.argmax(1, keepdim=True), slice(reach.stop, reach.stop + 1)
    assert recorder.replayed == (STEPS - 1 - WARM_UP - 1 if recorded else 0)


def test_a_cache_at_fixed_addresses_keeps_its_rows() -> None:
    model, _, _ = rows_of(made(), PROMPTS)
    with pytest.raises(TypeError, match="keeps all its rows"):
        StaticDecoder(model, 20).select(torch.arange(2))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, ({"full_attention": None}, False)),
        ({"sliding_window": 5}, ({"full_attention": 5}, False)),
        ({"layer_types": ["full_attention"] * 2}, ({"full_attention": None}, False)),
        (
            {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5},
            ({"full_attention": None, "sliding_attention": 5}, True),
        ),
        ({"layer_types": ["sliding_attention"], "sliding_window": 5}, ({"sliding_attention": 5}, True)),
    ],
)
def test_how_far_layers_see_back(config: dict[str, Any], expected: object) -> None:
    assert windows(SimpleNamespace(**config)) == expected


def test_layers_that_attend_in_another_way_are_refused() -> None:
    config = SimpleNamespace(model_type="lfm2", layer_types=["conv", "full_attention"])
    with pytest.raises(ConfigurationError, match=r"The layers of lfm2 attend by conv, and on a GPU .* --device cpu"):
        windows(config)
