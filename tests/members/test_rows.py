"""How members' rows are written. Axes: B members, P parameters, K vectors of a transform's basis."""

import itertools

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.members.gaussian import GaussianRows
from distes.members.members import Members, materialise
from distes.population import Transform
from tests.support.small import Parts, gaussian_members, sphere

SIZE = 1003  # no multiple of a vector unit's width
IDS_B = np.array([5, 5, 900, 12, 12, 5], np.int64)
SIGNS_B = np.array([1, -1, 1, 1, -1, 0], np.int64)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=SIZE)


def a_transform(vectors: int = 3) -> Transform:
    """Of vectors that are neither orthogonal nor of the same length, mixed by no symmetric matrix."""
    chance = np.random.default_rng(7)
    basis_KP = (chance.standard_normal((vectors, SIZE)) / 20 + 0.01).astype(np.float32)
    return Transform(0.7, basis_KP, chance.standard_normal((vectors, vectors)))


def a_vector() -> NDArray[np.float32]:
    return np.linspace(0.1, 2, SIZE).astype(np.float32)


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_spread_is_what_its_formula_says(vectors: int) -> None:
    transform, z_P = a_transform(vectors), np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    basis_KP = transform.basis_KP.astype(float)
    expected_P = 0.7 * z_P + basis_KP.T @ (transform.mixing_KK @ (basis_KP @ z_P))
    got_P = transform(z_P)
    assert got_P.dtype == np.float32
    np.testing.assert_allclose(got_P, expected_P, atol=1e-5)
    np.testing.assert_allclose(transform(z_P) + 2 * transform(-z_P), transform(-z_P), atol=1e-5)  # linear


@pytest.mark.parametrize("sigma", [0.3, a_vector(), -0.3], ids=["a number", "a vector", "turned"])
@pytest.mark.parametrize("transform", [None, a_transform(1), a_transform(5)], ids=["none", "of 1", "of 5"])
def test_members_are_as_the_population_says(
    parts: Parts, sigma: float | NDArray[np.float32], transform: Transform | None
) -> None:
    """centre + sign * sigma * T direction, for members of pairs, alone, and for the centre itself."""
    members = gaussian_members(
        parts.experiment.forward, parts.perturbation, parts.centre_P, sigma, IDS_B, SIGNS_B, transform=transform
    )
    directions_BP = parts.perturbation.directions(IDS_B)
    mapped_BP = directions_BP if transform is None else np.stack([transform(z_P) for z_P in directions_BP])
    expected_BP = parts.centre_P + SIGNS_B[:, None] * np.asarray(sigma) * mapped_BP.astype(float)
    np.testing.assert_allclose(members.parameters(), expected_BP, atol=2e-5)
    np.testing.assert_array_equal(members.parameters()[-1], parts.centre_P)
    np.testing.assert_array_equal(
        materialise(
            parts.perturbation, parts.centre_P, GaussianRows(parts.perturbation, sigma, IDS_B, SIGNS_B, transform)
        ),
        members.parameters(),
    )


@pytest.mark.parametrize("sigma", [0.3, a_vector()], ids=["a number", "a vector"])
def test_a_transform_s_members_do_not_see_their_companions(parts: Parts, sigma: float | NDArray[np.float32]) -> None:
    """To the last bit: written together, one by one, in any order, wherever in memory."""
    rows = GaussianRows(parts.perturbation, sigma, IDS_B, SIGNS_B, a_transform(5))
    centre_P = torch.from_numpy(parts.centre_P)
    whole_BP = torch.empty(len(IDS_B), SIZE)
    rows.write(centre_P, np.arange(len(IDS_B)), whole_BP)
    for some in ([0], [1], [4, 0], [3, 2, 1, 0, 5, 4], [1, 4, 2]):
        for shift, fresh in itertools.product((0, 1, 3), (False, True)):
            out = torch.empty(len(some) * SIZE + shift)[shift:].view(len(some), SIZE)
            writer = GaussianRows(parts.perturbation, sigma, IDS_B, SIGNS_B, a_transform(5)) if fresh else rows
            writer.write(centre_P, np.array(some), out)
            np.testing.assert_array_equal(out.numpy(), whole_BP[some].numpy())


def test_a_transform_s_members_do_not_see_how_they_were_selected(parts: Parts) -> None:
    def made() -> Members:
        return gaussian_members(
            parts.experiment.forward, parts.perturbation, parts.centre_P, 0.3, IDS_B, SIGNS_B, transform=a_transform()
        )

    ones = torch.ones(len(IDS_B), 1, 1)
    whole = made()
    whole.select(np.arange(len(IDS_B)))
    expected = whole(ones).clone()
    narrowed = made()
    for selected in ([5, 4, 3, 2, 1, 0], [2, 4], [4, 2, 1]):
        narrowed.select(np.array(selected))
        np.testing.assert_array_equal(narrowed(ones[: len(selected)]), expected[selected])
