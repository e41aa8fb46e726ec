"""`sync: replay` on Ray: the same bits as when the centre travels, for newcomers and for those who went astray, too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from distes.errors import ConfigurationError
from distes.policies.linear import Linear
from distes.pools.chunks import Chunk
from distes.pools.experiment import Experiment
from distes.pools.on_ray import sync as on_ray_sync
from distes.pools.on_ray.actor import _Actor
from distes.pools.on_ray.pool import RayPool
from distes.pools.on_ray.sync import HISTORY, Broadcast, Replay, Sync, how_to_send
from distes.pools.replica import StateMessage, TellMessage
from distes.pools.serial import SerialPool
from distes.population import Evaluation
from distes.strategies.base import Strategy
from distes.strategies.openai_es import OpenAIES
from distes.tasks.functions import Function
from tests.contracts.test_pools import KillsAWorker
from tests.support.small import Log, Parts, drift, parts, sphere, train, trainer


class Baited(Function):
    """Knows where there is a file that leads one worker astray."""

    def __init__(self, bait: Path) -> None:
        super().__init__("sphere", dimension=20)
        self.bait = bait


class Astray(_Actor):
    """A worker one of whose steps comes out otherwise, as on another kind of processor."""

    def follow(self, *messages: TellMessage | StateMessage) -> None:
        super().follow(*messages)
        replica: Any = self._replica
        if isinstance(self._task, Baited) and self._task.bait.exists() and replica._generation:
            self._task.bait.unlink(missing_ok=True)
            replica._strategy._optimizer._optimizer._centre.data.view(-1)[0] += 1
            for name in ("_asked", "_digest"):
                replica.__dict__.pop(name, None)


class AstrayPool(RayPool):
    worker = Astray


def following(made: Parts, strategy: Strategy) -> Experiment:
    return replace(made.experiment, strategy=strategy)


@pytest.mark.slow
@pytest.mark.alone
def test_equals_the_serial_pool_when_a_worker_dies_and_when_a_run_is_resumed() -> None:
    made = drift(env_kwargs={"seconds": 0.0003})
    rounds = {"population_size": 32, "timesteps_per_generation": 600}
    log = train(made, generations=8, strategy=made.strategy(**rounds))
    assert {len(fitness) for fitness in log.fitness} == {16, 32}  # generations of one round, and of two
    expected = log.what_must_agree
    strategy = made.strategy(**rounds)
    said = list[str]()
    pool = RayPool(
        following(made, strategy), workers=3, oversubscribe=True, pairs_per_chunk=2, sync="replay", say=said.append
    )
    try:
        log = Log()
        trainer(made, KillsAWorker(pool, 3), strategy=strategy, generations=8, monitors=[log]).run()
        assert log.what_must_agree == expected
        assert pool.status().restarted == 1
        # Another run of the same workers, which begins where a checkpoint left it: nobody has been told of that.
        state = strategy.state_dict()
        twin = made.strategy(**rounds)
        twin.load_state_dict(state)
        serial = SerialPool(made.experiment, pairs_per_chunk=2)
        for _ in range(3):
            asked = strategy.ask()
            got, wanted = (which.evaluate(asked, lambda: False) for which in (pool, serial))
            np.testing.assert_array_equal(got.fitness_N2, wanted.fitness_N2)
            strategy.tell(got)  # and nobody is told of this either
            twin.tell(wanted)
            assert strategy.ask().centre_P.tobytes() == twin.ask().centre_P.tobytes()
    finally:
        pool.close()
    assert any("each worker updates its own copy of the" in line for line in said)


@pytest.mark.slow
@pytest.mark.alone
def test_who_goes_astray_is_brought_back(tmp_path: Path) -> None:
    bait = tmp_path / "bait"
    made = parts(Baited(bait), Linear(1, 20, bias=False, initial_scale=3.0))
    expected = train(made, generations=12).what_must_agree
    bait.touch()
    strategy, said, log = made.strategy(population_size=16), list[str](), Log()
    pool = AstrayPool(
        following(made, strategy), workers=2, oversubscribe=True, pairs_per_chunk=3, sync="replay", say=said.append
    )
    try:
        trainer(made, pool, strategy=strategy, generations=12, monitors=[log]).run()
    finally:
        pool.close()
    assert log.what_must_agree == expected
    assert not bait.exists()
    assert len([line for line in said if "has come to other parameters than the driver" in line]) == 1
    down = log.column("bytes/down")
    assert max(down) > min(down)  # in one generation the state went down, too


def put(thing: Any) -> Any:
    """A reference is the thing itself."""
    return thing


def one_generation(sync: Sync, strategy: OpenAIES, worker: int = 0) -> tuple[int, list[type]]:
    """Returns the bytes that went down, and what a worker was given besides the population."""
    asked = strategy.ask()
    sync.begin(asked)
    _, messages = sync.arguments(worker, Chunk(0, 0, len(asked.ids_N)))
    sync.answered(worker)
    sync.end()
    shape = (len(asked.ids_N), 2)
    none, fitness_N2 = np.empty(0), np.random.default_rng(asked.generation).standard_normal(shape)
    scalars = Evaluation(fitness_N2, np.ones(shape, np.int64), fitness_N2.size, none, none.astype(np.int64), (), 0.0)
    sync.told(asked.generation, scalars)
    strategy.tell(scalars)
    return sync.bytes_down, [type(item) for item in messages]


def test_what_travels_does_not_grow_with_the_parameters() -> None:
    down: dict[tuple[str, int], set[int]] = {}
    for dimension in (10, 5_000):
        for name in ("broadcast", "replay"):
            made = sphere(dimension)
            strategy = made.strategy(population_size=16)
            sync: Sync = Broadcast(put, put) if name == "broadcast" else Replay(put, strategy, made.perturbation)
            down[name, dimension] = {one_generation(sync, strategy)[0] for _ in range(4)}
    assert down["replay", 10] == down["replay", 5_000] == {8 * (8 + 8) + 16 * (8 + 8)}  # ids, seeds; fitness, steps
    assert down["broadcast", 5_000] == {4 * 5_000 + 8 * (8 + 8)}


def test_who_is_told_what() -> None:
    made = sphere(10)
    strategy = made.strategy(population_size=16)
    sync = Replay(put, strategy, made.perturbation)
    assert one_generation(sync, strategy)[1] == []  # everybody starts there
    assert one_generation(sync, strategy)[1] == [TellMessage]
    assert one_generation(sync, strategy, worker=1)[1] == [TellMessage, TellMessage]  # a newcomer, from the beginning
    assert one_generation(sync, strategy)[1] == [TellMessage, TellMessage]  # missed one
    sync.forget(0)
    assert one_generation(sync, strategy)[1] == [StateMessage]
    assert one_generation(sync, strategy)[1] == [TellMessage]
    for _ in range(HISTORY):
        one_generation(sync, strategy)
    assert one_generation(sync, strategy, worker=1)[1] == [StateMessage]  # too long ago
    assert one_generation(sync, strategy, worker=2)[1] == [StateMessage]
    strategy.tell(nothing(strategy))  # a step that nobody hears of
    assert one_generation(sync, strategy)[1] == [StateMessage]


def nothing(strategy: OpenAIES) -> Evaluation:
    shape, none = (len(strategy.ask().ids_N), 2), np.empty(0)
    return Evaluation(np.zeros(shape), np.ones(shape, np.int64), 16, none, none.astype(np.int64), (), 0.0)


def test_without_a_strategy_nobody_can_follow() -> None:
    with pytest.raises(ConfigurationError, match="no strategy that workers could follow"):
        RayPool(sphere(3).experiment, sync="replay")
    with pytest.raises(ConfigurationError, match="sync must be one of auto, broadcast, replay; got 'always'"):
        RayPool(sphere(3).experiment, sync="always")
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("device", "gpus", "pays_from", "sync", "expected"),
    [
        ("cuda", 1, 10, "auto", Replay),
        ("cuda", 1, 11, "auto", Broadcast),  # too small
        ("cuda", 0, 10, "auto", Broadcast),  # the driver's step would have other bits
        ("cpu", 1, 10, "auto", Broadcast),  # a network is faster
        ("cuda", 1, 10, "broadcast", Broadcast),
        ("cpu", 0, 10**9, "replay", Replay),
    ],
)
def test_decides_by_size_and_device(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, pays_from: int, sync: str, expected: type[Sync]
) -> None:
    monkeypatch.setattr(on_ray_sync, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(on_ray_sync, "REPLAY_PARAMETERS", pays_from)
    made, said = sphere(10), list[str]()
    experiment = replace(following(made, made.strategy()), device=device)
    how, settled = how_to_send(sync, experiment, put, put, said.append)
    assert type(how) is expected
    assert (settled.strategy is not None) == (expected is Replay) == any("10 parameters" in line for line in said)
