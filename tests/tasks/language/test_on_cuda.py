"""Language models on a GPU: a CUDA graph per token, members of many weights, and nothing that waits in between.

Axes: B members, R rows, T tokens, P parameters.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.cli import main
from distes.members.capture_check import SYNCHRONISES
from distes.members.gaussian import GaussianRows
from distes.members.members import Members
from distes.policies.language.causal_lm import Dtype
from distes.pools.device import configure_torch
from distes.tasks.language import generation
from distes.tasks.language.decoders import Decoder, StaticDecoder
from distes.tasks.language.generation import Decoding, Padded, generate
from tests.support.model_families import FAMILIES, Family
from tests.tasks.language.test_generation import DRAWN, GREEDY, IDS, PAD, PROMPTS, SEEDS, SIGNS, answers

pytest.importorskip("transformers", reason="the extra llm is not installed")
pytestmark = pytest.mark.gpu
DEVICE = "cuda"
CLOSE = 1e-3  # of logits: where two tokens are as close as that, either may be chosen


def on_gpu(name: str = "llama, tied", rank: int | None = 1, dtype: Dtype = "float32") -> tuple[Family, Members]:
    """A family, and its members on the GPU."""
    configure_torch(DEVICE)
    family = Family(name, rank=rank, dtype=dtype)
    rows = GaussianRows(family.perturbation, 0.05, np.array(IDS, np.int64), np.array(SIGNS, np.int64))
    return family, Members(family.forward.to(DEVICE), family.perturbation, family.centre_P, rows, DEVICE)


@pytest.mark.parametrize(("name", "rank"), [*((name, 1) for name in FAMILIES), ("llama, tied", None), ("gpt2", 4)])
def test_each_token_is_the_most_probable_one_of_its_member_alone(name: str, rank: int | None) -> None:
    family, members = on_gpu(name, rank)
    parameters_BP = Family(name, rank=rank).members(IDS, SIGNS).parameters()
    got = answers(members)
    for row, answer in enumerate(got):
        prompt = PROMPTS[row % len(PROMPTS)]
        alone_TV = family.alone(parameters_BP[row // len(PROMPTS)], torch.tensor([prompt + answer]))[0]
        for place, token in enumerate(answer, start=len(prompt) - 1):
            assert alone_TV[place, token] >= alone_TV[place].max() - CLOSE * alone_TV.abs().max()
    assert got == answers(members), "it is repeatable"


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_graphs_and_kernels_launched_one_by_one_answer_alike(
    decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, members = on_gpu()
    recorded = answers(members, decoding)
    monkeypatch.setattr(generation, "StaticDecoder", lambda model, length: Launched(model))
    launched = answers(members, decoding)
    same = np.mean([mine == theirs for mine, theirs in zip(recorded, launched, strict=True)])
    assert same > 0.9, "all but ties"


class Launched(Decoder):
    """The cache that grows; all rows stay, as with the other one."""

    moves = False


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_centre_is_the_same_to_the_bit_after_many_members(dtype: Dtype) -> None:
    family, members = on_gpu(dtype=dtype)
    before_P = family.layout.flatten(family.policy)
    for _ in range(3):
        answers(members)
    assert family.layout.flatten(family.policy).tobytes() == before_P.tobytes()
    again = on_gpu(dtype=dtype)[1]
    assert answers(again) == answers(members)


def test_members_in_turn_answer_nearly_as_together() -> None:
    _, members = on_gpu()
    together = answers(members)
    for at_once in (1, 2, 4):
        same = np.mean(
            [mine == theirs for mine, theirs in zip(answers(members, at_once=at_once), together, strict=True)]
        )
        assert same > 0.9, "all but ties"


@pytest.mark.skipif(DEVICE == "cpu", reason="nothing waits")
def test_nothing_waits_for_the_gpu_but_the_looks_for_ended_answers() -> None:
    _, members = on_gpu()
    prompts, decoding = Padded.of([PROMPTS], PAD), Decoding(64, (), PAD)  # no answer ends

    def waits() -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                generate(members, prompts, decoding, at_once=100, seeds_B=SEEDS)
            finally:
                torch.cuda.set_sync_debug_mode(0)
        return sum(SYNCHRONISES in str(warning.message) for warning in caught)

    waits()
    assert waits() <= 64 // generation.SELDOM + 8, "two copies of results, those of the prompts, and one per look"


@torch.inference_mode()
def test_logits_of_a_recorded_step_are_those_of_a_cache_that_grows() -> None:
    _, members = on_gpu()
    members.select(np.arange(len(IDS)))
    bound: Any = members.module()
    tokens_RT, lengths_R = Padded.of([PROMPTS], PAD).rows(np.arange(len(IDS)), members.device)
    width, starts_R = tokens_RT.shape[1], tokens_RT.shape[1] - lengths_R
    growing, fixed, reach = Decoder(bound.model), StaticDecoder(bound.model, width + 12), slice(0, width)
    for _ in range(12):
        expected_RV, got_RV = growing(tokens_RT, reach, starts_R), fixed(tokens_RT, reach, starts_R)
        torch.testing.assert_close(got_RV, expected_RV, rtol=0, atol=CLOSE * float(expected_RV.abs().max()))
        tokens_RT, reach = expected_RV.argmax(1, keepdim=True), slice(reach.stop, reach.stop + 1)


def test_a_run_trains(tmp_path: Path) -> None:
    """The tiny model, in this process, twice with the same parameters."""
    digests = []
    for name in ("first", "again"):
        flags = ["--config", "countdown_tiny", "--workers", "0", "--device", DEVICE, "--generations", "2"]
        flags += ["--strategy.population_size", "8", "--task.prompts_per_generation", "4", "--final_episodes", "1"]
        assert main(["train", *flags, "--task.eval_prompts", "8", "--run_dir", str(tmp_path / name)]) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        digests.append([line.partition('"params/sha256": "')[2][:16] for line in lines])
    assert digests[0] == digests[1] and len(set(digests[0])) == 2
