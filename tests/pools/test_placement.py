"""The share of a GPU that a worker asks for, and the table of workers."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distes.pools.device import WorkerPlace
from distes.pools.worker_table import gpu_share, mixed, spans, table

H200 = "NVIDIA H200"


@pytest.mark.parametrize(
    ("workers", "gpus", "share"),
    [(1, 1, 1), (2, 4, 1), (8, 2, 0.25), (3, 2, 0.5), (7, 2, 0.25), (3, 1, 0.3333), (7, 1, 0.1428), (9, 8, 0.5)],
)
def test_gpus_are_shared_alike(workers: int, gpus: int, share: float) -> None:
    assert gpu_share(workers, gpus) == share


@given(st.lists(st.integers(1, 16), min_size=1, max_size=5), st.integers(1, 500))
def test_all_find_a_place_however_the_gpus_are_spread_over_nodes(nodes: list[int], workers: int) -> None:
    """Ray counts in ten-thousandths, GPU by GPU."""
    share = gpu_share(workers, sum(nodes))
    ten_thousandths = Fraction(share).limit_denominator(10_000) * 10_000
    assert ten_thousandths.denominator == 1 and math.isclose(share * 10_000, float(ten_thousandths))
    assert sum(nodes) * (10_000 // int(ten_thousandths)) >= workers


def test_a_row_for_each_of_a_few_workers() -> None:
    places = {1: WorkerPlace("b", 22, H200, "1"), 0: WorkerPlace("a (10.0.0.1)", 11, "cpu")}
    assert table(places) == [("0", "a (10.0.0.1)", "11", "cpu"), ("1", "b", "22", "NVIDIA H200 (GPU 1)")]


def test_a_row_for_each_node_where_workers_are_many() -> None:
    places = {n: WorkerPlace("a", 100 + n, H200, str(n % 2)) for n in range(8)}
    places |= {n: WorkerPlace("b", 200 + n, H200, str(n % 4)) for n in (8, 9, 11)}
    places |= {10: WorkerPlace("b", 210, "NVIDIA L40S", "7"), 12: WorkerPlace("c", 300, "cpu")}
    assert table(places) == [
        ("0-7", "a", "8 processes", "2 x NVIDIA H200"),
        ("8-9, 11", "b", "3 processes", "3 x NVIDIA H200"),
        ("10", "b", "210", "1 x NVIDIA L40S"),
        ("12", "c", "300", "cpu"),
    ]


@given(st.sets(st.integers(0, 30), min_size=1))
def test_spans_name_every_number_once(numbers: set[int]) -> None:
    named: list[int] = []
    for part in spans(sorted(numbers)).split(", "):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)


def test_warns_of_gpus_of_several_kinds() -> None:
    assert mixed([]) is None
    assert mixed([WorkerPlace("a", 1, H200, "0"), WorkerPlace("b", 2, H200, "1")]) is None
    warning = mixed([WorkerPlace("a", 1, H200, "0"), WorkerPlace("b", 2, "NVIDIA L40S", "0")])
    assert warning is not None and warning.startswith("The workers' devices differ (NVIDIA H200, NVIDIA L40S): ")
