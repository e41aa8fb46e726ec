"""How members' rows are written. Axes: B members, P parameters, K vectors of a transform's basis."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.members.gaussian import DIRECTIONS, GaussianRows, members_at_a_time
from distes.members.members import Members, materialise
from distes.perturbations.base import BLOCK
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


@pytest.mark.parametrize("on_gpu", [False, True], ids=["CPU", "as on a GPU"])
@pytest.mark.parametrize("sigma", [0.3, a_vector()], ids=["a number", "a vector"])
def test_a_transform_s_members_do_not_see_their_companions(
    parts: Parts, sigma: float | NDArray[np.float32], on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit: written together, one by one, in any order, wherever in memory."""
    if on_gpu:
        monkeypatch.setattr(GaussianRows, "_write_transformed", GaussianRows._write_transformed_on_gpu)
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


@pytest.mark.parametrize("sigma", [0.3, a_vector()], ids=["a number", "a vector"])
def test_a_gpu_maps_many_directions_at_a_time(
    parts: Parts, sigma: float | NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one block of them, in any order, and some once only."""
    ids_B = np.concatenate([np.arange(2 * DIRECTIONS + 5).repeat(2) * 7, [3, 14, 3]])[::-1].copy()
    signs_B = np.resize([1, -1, 0], len(ids_B))
    rows = GaussianRows(parts.perturbation, sigma, ids_B, signs_B, a_transform(5))
    centre_P, some = torch.from_numpy(parts.centre_P), np.random.default_rng(0).permutation(len(ids_B))[:-9]
    one_by_one, together = torch.empty(2, len(some), SIZE)
    rows.write(centre_P, some, one_by_one)
    called = calls_of(rows, monkeypatch)
    monkeypatch.setattr(rows, "_write_transformed", rows._write_transformed_on_gpu)
    rows.write(centre_P, some, together)
    torch.testing.assert_close(together, one_by_one, rtol=1e-4, atol=1e-5)
    assert called == [DIRECTIONS] * 3


def calls_of(rows: GaussianRows, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many directions each call asks for, from here on."""
    called: list[int] = []
    original = rows._perturbation.perturb

    def perturb(centre_P: Any, scale_B: Any, ids_B: Any, out_BQ: Any) -> None:
        called.append(len(ids_B))
        original(centre_P, scale_B, ids_B, out_BQ)

    monkeypatch.setattr(rows._perturbation, "perturb", perturb)
    return called


@pytest.mark.parametrize(("device", "calls"), [("cpu", [16, 16, 8]), ("meta", [40])])
def test_a_gpu_writes_members_with_a_sigma_per_parameter_by_few_calls(
    parts: Parts, device: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call is a dozen launches. Torch's meta device has all of a GPU but its memory."""
    rows = GaussianRows(parts.perturbation, a_vector(), np.arange(40), np.resize([1, -1], 40))
    called = calls_of(rows, monkeypatch)
    rows.write(torch.empty(SIZE, device=device), np.arange(40), torch.empty(40, SIZE, device=device))
    assert called == calls


def test_scales_of_members_take_no_more_than_a_block() -> None:
    cuda = torch.device("cuda", 0)
    assert members_at_a_time(cuda, 5933) == BLOCK // 5933 and members_at_a_time(cuda, 10 * BLOCK) == 1


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
