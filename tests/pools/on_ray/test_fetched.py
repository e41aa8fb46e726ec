"""What a worker fetches, it fetches once for all chunks that follow each other."""

from typing import Any

import pytest
import ray
from ray.exceptions import ObjectLostError, RayTaskError

from distes.pools.on_ray.calls import CallStatus, what_became
from distes.pools.on_ray.fetched import Fetched, NotFetchedError


def test_what_the_last_call_needed_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (ray.ObjectRef.from_random() for _ in range(3))
    store, asked = {one: "population", two: "rows", three: "next"}, list[Any]()

    def get(reference: Any) -> Any:
        asked.append(reference)
        return store[reference]

    monkeypatch.setattr("ray.get", get)
    fetched = Fetched()
    assert fetched.values([one, "as it is", two]) == ["population", "as it is", "rows"]
    assert fetched.values([one]) == ["population"] and asked == [one, two]
    assert fetched.values([one, two]) == ["population", "rows"]
    assert asked == [one, two, two]  # what a call did not need is given up
    assert fetched.values([three]) == ["next"] and fetched.values([one]) == ["population"]
    assert asked == [one, two, two, three, one]


def test_a_worker_that_cannot_fetch_counts_as_lost_and_its_chunk_is_not_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference = ray.ObjectRef.from_random()

    def get(reference: Any) -> Any:
        raise ObjectLostError(reference.hex(), None, "")

    monkeypatch.setattr("ray.get", get)
    with pytest.raises(NotFetchedError, match="lost") as raised:
        Fetched().values([reference])
    status, death = what_became(RayTaskError("evaluate_sent", "traceback", raised.value))
    assert status is CallStatus.LOST and death.outside
    assert death.cause.startswith("it cannot fetch what it needs: ")
