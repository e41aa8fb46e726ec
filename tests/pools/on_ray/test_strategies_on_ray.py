"""Every strategy on Ray, with whatever it asks for: lone members, rounds, genomes, linear maps, behaviours."""

import dataclasses

import numpy as np
import pytest

from distes.policies.linear import Linear
from distes.pools.on_ray.pool import RayPool
from distes.pools.serial import SerialPool
from distes.tasks.functions import Function
from tests.contracts.registry import STRATEGIES, answering
from tests.support.small import evaluate, parts


@pytest.mark.slow
def test_every_strategy_gets_on_ray_what_it_gets_in_this_process() -> None:
    made = parts(Function("sphere", dimension=10, behaviour=True), Linear(1, 10, bias=False, initial_scale=3.0))
    experiment = dataclasses.replace(made.experiment, sensitivity=answering(made.centre_P)())
    serial = SerialPool(experiment, pairs_per_chunk=2)
    ray = RayPool(experiment, workers=2, oversubscribe=True, pairs_per_chunk=2)
    try:
        for name, make in STRATEGIES.items():
            strategy = make(made.centre_P, made.perturbation, 5)
            for _ in range(3):
                asked = strategy.ask()
                got, expected = evaluate(ray, asked), evaluate(serial, asked)
                for field in ("fitness_N2", "steps_N2", "eval_fitness_E", "behaviour_N2D", "eval_behaviour_ED"):
                    np.testing.assert_array_equal(getattr(got, field), getattr(expected, field), f"{name}: {field}")
                members = strategy.parameters(asked).reshape(-1, 10).astype(np.float64)
                fitness = -np.square(members).sum(axis=1)
                np.testing.assert_allclose(got.fitness_N2.ravel(), fitness, rtol=1e-5, err_msg=name)
                strategy.tell(got)
    finally:
        ray.close()
