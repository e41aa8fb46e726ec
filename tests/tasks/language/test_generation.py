"""Answers of many members in one batch: token for token those of each member alone, one prompt at a time.

Axes: B members, K prompts, T tokens of a prompt, N those of an answer.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from distes.members.members import Members
from distes.noise.splitmix import uniform
from distes.policies.language.causal_lm import Dtype
from distes.population import Floats
from distes.tasks.base import Stopped
from distes.tasks.language import generation
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from tests import reference
from tests.support.model_families import FAMILIES, VOCABULARY, Family

NEW, PAD = 9, 0
ENDS = tuple(range(1, 9))  # enough for answers to end early
IDS, SIGNS = (5, 5, 900, 900, 41, 41), (1, -1, 1, -1, 1, -1)
SEEDS = np.array([7, 7, 8, 8, 9, 9], np.uint64)
PROMPTS = [[11, 12, 13], [40], [9, 10, 96, 95, 94, 93, 17], [21, 22, 23, 24]]  # of different lengths
GREEDY = Decoding(NEW, ENDS, PAD)
DRAWN = Decoding(NEW, ENDS, PAD, temperature=1.5)


@lru_cache
def made(name: str = "llama, tied", rank: int | None = 1, dtype: Dtype = "float32") -> Family:
    return Family(name, rank=rank, dtype=dtype)


def answers(members: Members, decoding: Decoding = GREEDY, *, at_once: int = 100, **settings: Any) -> list[list[int]]:
    """The answers of all members, a list per member and prompt, in this order."""
    prompts = Padded.of(settings.pop("prompts", [PROMPTS]), PAD)
    found = generate(members, prompts, decoding, at_once=at_once, seeds_B=settings.pop("seeds", SEEDS), **settings)
    return [found_of(found, b, k) for b in range(len(members)) for k in range(found.tokens_BKN.shape[1])]


def found_of(found: Answers, b: int, k: int) -> list[int]:
    length = int(found.lengths_BK[b, k])
    assert (found.tokens_BKN[b, k, length:] == PAD).all(), "what follows an answer is padding"
    return [int(token) for token in found.tokens_BKN[b, k, :length]]


def by_reference(family: Family, parameters_BP: Floats, decoding: Decoding) -> list[list[int]]:
    """Each member's model, each prompt alone, without padding and without a cache."""
    expected = []
    for b, parameters_P in enumerate(parameters_BP):
        model = family.model_of(parameters_P)
        uniforms_KN = uniform(torch.from_numpy(SEEDS[b : b + 1].astype(np.int64)), len(PROMPTS) * NEW).view(-1, NEW)

        def logits(tokens: list[int], model: Any = model) -> list[float]:
            with torch.inference_mode():
                return [float(x) for x in model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1]]

        for prompt, uniforms_N in zip(PROMPTS, uniforms_KN.tolist(), strict=True):
            expected.append(reference.answer(logits, prompt, NEW, ENDS, decoding.temperature, uniforms_N))
    return expected


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize(
    ("name", "rank"),
    [
        ("llama, tied", 1),
        ("llama, tied", None),
        ("llama", 4),
        ("qwen2", 1),
        ("gpt2", 1),
        ("gemma", 1),
        ("mistral, window", 1),
        ("gemma3, window", 1),
    ],
)
def test_members_answer_as_each_alone(name: str, rank: int | None, decoding: Decoding) -> None:
    family = made(name, rank)
    members = family.members(IDS, SIGNS)
    expected = by_reference(family, members.parameters(), decoding)
    assert answers(members, decoding) == expected
    lengths = {len(one) for one in expected}
    if decoding is DRAWN or name == "llama, tied":
        assert len(lengths) > 2 and NEW in lengths, "some end early, and some do not"


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_answers_are_those_of_transformers_own_generate(name: str) -> None:
    family = made(name)
    members = family.members(IDS, SIGNS)
    got, expected = answers(members), []
    for parameters_P in members.parameters():
        model = family.model_of(parameters_P)
        for prompt in PROMPTS:
            tokens_1T = torch.tensor([prompt])
            ended = {"eos_token_id": list(ENDS), "pad_token_id": PAD, "max_new_tokens": NEW, "do_sample": False}
            whole_1L = model.generate(tokens_1T, attention_mask=torch.ones_like(tokens_1T), **ended)
            expected.append(whole_1L[0, len(prompt) :].tolist())
    assert got == expected


def test_attention_that_sees_a_window_is_another_one() -> None:
    assert answers(made("mistral, window").members(IDS, SIGNS)) != answers(made("mistral").members(IDS, SIGNS))


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("rank", [1, None], ids=["rank 1", "dense"])
@pytest.mark.parametrize("at_once", [1, 2, 4, 5])
def test_answers_do_not_depend_on_how_many_run_at_once(rank: int | None, decoding: Decoding, at_once: int) -> None:
    members = made(rank=rank).members(IDS, SIGNS)
    assert answers(members, decoding, at_once=at_once) == answers(members, decoding)


@pytest.mark.parametrize("decoding", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_member_answers_alike_alone_in_any_order_and_after_any_other(decoding: Decoding) -> None:
    family = made()
    together = np.array(answers(family.members(IDS, SIGNS), decoding), dtype=object).reshape(len(IDS), len(PROMPTS))
    for b in (3, 0, 5):
        alone = answers(family.members(IDS[b : b + 1], SIGNS[b : b + 1]), decoding, seeds=SEEDS[b : b + 1])
        assert alone == together[b].tolist()
    turned = answers(family.members(IDS[::-1], SIGNS[::-1]), decoding, seeds=SEEDS[::-1].copy())
    assert np.array(turned, dtype=object).reshape(together.shape)[::-1].tolist() == together.tolist()


def test_nothing_of_a_member_is_left_after_an_update() -> None:
    """Keys and values of the members before it, or of the centre before the update, would show."""
    family, fresh = made(), Family()
    before = answers(family.members(IDS, SIGNS))
    centre_P = family.centre_P + 0.05 * np.random.default_rng(0).standard_normal(len(family.centre_P), np.float32)
    after = answers(family.members(IDS, SIGNS, centre_P=centre_P))
    assert after == answers(fresh.members(IDS, SIGNS, centre_P=centre_P)) != before
    assert answers(family.members(IDS, SIGNS)) == before


def test_members_may_have_prompts_of_their_own() -> None:
    family = made()
    own = [[PROMPTS[(b + k) % 4] for k in range(2)] for b in range(len(IDS))]
    got = answers(family.members(IDS, SIGNS), prompts=own)
    shared = np.array(answers(family.members(IDS, SIGNS)), dtype=object).reshape(len(IDS), len(PROMPTS))
    assert got == [shared[b, (b + k) % 4] for b in range(len(IDS)) for k in range(2)]


def test_both_members_of_a_pair_draw_alike() -> None:
    """With noise of nothing they are the same member: their draws are equal, and those of other pairs are not."""
    members = made().members(IDS, SIGNS, sigma=0.0)
    drawn = np.array(answers(members, DRAWN), dtype=object).reshape(3, 2, len(PROMPTS))
    assert drawn[:, 0].tolist() == drawn[:, 1].tolist()
    assert drawn[0, 0].tolist() != drawn[1, 0].tolist() != drawn[2, 0].tolist()


@pytest.mark.parametrize("full", [0.0, 0.5, 1.0])
def test_those_that_have_ended_change_nothing_for_others(monkeypatch: pytest.MonkeyPatch, full: float) -> None:
    """Whether they leave the batch at once, late, or never."""
    expected = answers(made().members(IDS, SIGNS))
    monkeypatch.setattr(generation, "FULL", full)
    assert answers(made().members(IDS, SIGNS)) == expected


def test_a_batch_ends_with_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    call = generation.Decoder.__call__

    def counted(decoder: generation.Decoder, tokens_RT: torch.Tensor, *further: Any) -> torch.Tensor:
        steps.append(len(tokens_RT))
        return call(decoder, tokens_RT, *further)

    monkeypatch.setattr(generation.Decoder, "__call__", counted)
    got = answers(made().members(IDS, SIGNS), Decoding(40, tuple(range(1, 50)), PAD, 1.5))
    assert len(steps) == max(map(len, got)) < 40
    assert steps == sorted(steps, reverse=True) and steps[-1] < steps[0], "members leave"


def test_a_single_token_is_an_answer() -> None:
    one = answers(made().members(IDS, SIGNS), Decoding(1, ENDS, PAD))
    assert one == [tokens[:1] for tokens in answers(made().members(IDS, SIGNS))]


def test_generation_stops_between_tokens() -> None:
    asked: list[bool] = []

    def stop() -> bool:
        asked.append(len(asked) == 3)
        return asked[-1]

    with pytest.raises(Stopped):
        answers(made().members(IDS, SIGNS), stop=stop)
    assert len(asked) == 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("rank", [1, None], ids=["rank 1", "dense"])
def test_half_precision_answers_nearly_as_float32(dtype: Dtype, rank: int | None) -> None:
    half, single = made(rank=rank, dtype=dtype), made(rank=rank)
    got, expected = answers(half.members(IDS, SIGNS)), answers(single.members(IDS, SIGNS))
    assert got == answers(half.members(IDS, SIGNS)), "it is repeatable"
    same = np.mean([mine[:1] == theirs[:1] for mine, theirs in zip(got, expected, strict=True)])
    assert same >= 0.75
    assert all(0 <= token < VOCABULARY for tokens in got for token in tokens)


@pytest.mark.parametrize("first", [PROMPTS, PROMPTS[::-1], PROMPTS[:1]])
def test_prompts_are_padded_on_the_left(first: Sequence[Sequence[int]]) -> None:
    padded = Padded.of([first], PAD)
    longest = max(map(len, first))
    for tokens, row, length in zip(first, padded.tokens_bKT[0].tolist(), padded.lengths_bK[0].tolist(), strict=True):
        assert row == [PAD] * (longest - len(tokens)) + list(tokens) and length == len(tokens)
