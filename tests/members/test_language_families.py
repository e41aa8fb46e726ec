"""Language models for many members: each member's logits are those of the model with its weights.

Axes: B members, K rows of each, T tokens, V entries of the vocabulary.
"""

import pytest
import torch

from distes.errors import ConfigurationError
from distes.members.layers.rms_norm import rms_norm_kind
from distes.members.layers.scaled_embedding import embedding_scale
from distes.members.members import Members
from tests.support.model_families import FAMILIES, REFUSED, VOCABULARY, Family

IDS, SIGNS, ROWS, LENGTH = (5, 5, 9), (1, -1, 1), 2, 7


def logits_of(members: Members, tokens_RT: torch.Tensor) -> torch.Tensor:
    places_RT = torch.arange(tokens_RT.shape[1]).expand_as(tokens_RT)
    with torch.inference_mode():
        answer = members.module().model(input_ids=tokens_RT, position_ids=places_RT, use_cache=False)  # type: ignore[operator, union-attr]
    found: torch.Tensor = answer.logits
    return found


@pytest.mark.parametrize("rank", [1, 4, None], ids=["rank 1", "rank 4", "dense"])
@pytest.mark.parametrize("name", FAMILIES)
def test_members_answer_as_the_model_with_their_weights(name: str, rank: int | None) -> None:
    family = Family(name, rank=rank)
    members = family.members(IDS, SIGNS)
    members.select([0, 1, 2])
    tokens_RT = torch.randint(0, VOCABULARY, (3 * ROWS, LENGTH), generator=torch.Generator().manual_seed(1))
    got = logits_of(members, tokens_RT).view(3, ROWS, LENGTH, VOCABULARY)
    for member, parameters_P in enumerate(members.parameters()):
        expected = family.alone(parameters_P, tokens_RT.view(3, ROWS, LENGTH)[member])
        torch.testing.assert_close(got[member], expected, rtol=1e-4, atol=1e-4)
    assert (got[0] - got[1]).abs().max() > 0.1, "the members of a pair differ"


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("opt", r"model\.model\.decoder\.embed_positions \(OPTLearnedPositionalEmbedding\)"),
        ("mixtral", r"model\.model\.layers\.0\.mlp\.gate \(MixtralTopKRouter\), .*experts \(MixtralExperts\)"),
    ],
)
def test_a_layer_that_is_not_known_is_named(name: str, layer: str) -> None:
    assert name in REFUSED
    with pytest.raises(ConfigurationError, match=f"cannot run .* for many members: {layer}.* It knows Linear"):
        Family(name)


def test_gemma_2_says_which_attention_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.model_families.EAGER", ())
    with pytest.raises(ConfigurationError, match=r"cannot load a causal language model.*scaled_dot_product_attention"):
        Family("gemma2")


def test_norms_and_embeddings_are_known_by_what_they_do() -> None:
    gemma, llama = Family("gemma").policy.model.model, Family("llama").policy.model.model
    assert embedding_scale(gemma.embed_tokens) == pytest.approx(32**0.5)
    assert embedding_scale(llama.embed_tokens) == 1
    norms = rms_norm_kind(gemma.norm), rms_norm_kind(llama.norm)
    assert [norm and norm.plus_one for norm in norms] == [True, False]
    gemma.embed_tokens.forward = lambda places: gemma.embed_tokens.weight[places] ** 2
    assert embedding_scale(gemma.embed_tokens) is None


def test_a_subclass_of_somebody_else_is_no_embedding() -> None:
    class Own(torch.nn.Embedding):
        pass

    assert embedding_scale(Own(3, 2)) is None
    assert embedding_scale(torch.nn.Embedding(3, 2, max_norm=1.0)) is None
    assert embedding_scale(torch.nn.Linear(3, 2)) is None
