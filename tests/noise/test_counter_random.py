"""Numbers as a function of key and counter."""

import math

import torch

from distes.noise.splitmix import normal, uniform

MASK = 2**64 - 1


def splitmix64(seed: int, n: int) -> list[float]:
    """The published generator, in Python's unbounded integers."""

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    state, numbers = mix(seed), []
    for _ in range(n):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        numbers.append((mix(state) >> 11) * 2.0**-53)
    return numbers


def test_uniform_is_splitmix64() -> None:
    keys = [0, 1, 2**63 - 1, 123456789012345]
    got_RN = uniform(torch.tensor(keys), 7)
    assert got_RN.tolist() == [splitmix64(key, 7) for key in keys]
    assert uniform(torch.tensor([-1]), 3).tolist() == [splitmix64(2**64 - 1, 3)]


def test_any_part_of_a_sequence_can_be_had_by_itself() -> None:
    keys_R = torch.tensor([5, 6, 7])
    whole_RN, half_RN = uniform(keys_R, 20), normal(keys_R, 20)
    assert torch.equal(uniform(keys_R, 4, first=9), whole_RN[:, 9:13])
    assert torch.equal(normal(keys_R, 4, first=9), half_RN[:, 9:13])
    own = uniform(keys_R, 3, first=torch.tensor([0, 5, 11]))
    assert torch.equal(own, torch.stack([whole_RN[0, :3], whole_RN[1, 5:8], whole_RN[2, 11:14]]))


def test_normal_numbers_are_normal() -> None:
    """Bounds of six standard deviations; keys that are neighbours, as seeds are."""
    x_RN = normal(torch.arange(1000), 100)
    n = x_RN.numel()
    assert abs(float(x_RN.mean())) < 6 / math.sqrt(n)
    assert abs(float(x_RN.var()) - 1) < 6 * math.sqrt(2 / n)
    assert abs(float((x_RN**4).mean()) - 3) < 6 * math.sqrt(96 / n)
    assert abs(float((x_RN[1:] * x_RN[:-1]).mean())) < 6 / math.sqrt(n)
    assert abs(float((x_RN[:, 1:] * x_RN[:, :-1]).mean())) < 6 / math.sqrt(n)
    assert torch.isfinite(x_RN).all()
