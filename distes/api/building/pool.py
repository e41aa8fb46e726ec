"""Where members are evaluated: the device, and the pool that a configuration asks for."""

import os
from collections.abc import Callable
from typing import Any, Literal

from distes.api.building.screens import Screen
from distes.api.configuration.resolution import Configuration
from distes.errors.messages import progress, warning
from distes.noise.sum_cpu import cores
from distes.perturbations.base import Perturbation
from distes.pools.base import Pool
from distes.pools.device import configure_torch, visible_gpus
from distes.pools.experiment import Experiment


def evaluates_here(configuration: Configuration, device: str) -> Literal["always", "at first", "never"]:
    """Whether members are evaluated in this process.

    Args:
        configuration: The resolved configuration.
        device: The device, as `decide_device` has decided it.
    """
    workers = configuration["workers"]
    if workers == 0:
        return "always"
    if workers != "auto" or _address(configuration):
        return "never"
    if device == "cuda":  # workers have a GPU each, which this process would hold
        return "always" if visible_gpus() == 1 else "never"
    return "always" if cores() == 1 else "at first"


def decide_device(configuration: Configuration, experiment: Experiment) -> Experiment:
    """The experiment on the device that members are evaluated on.

    If that depends on the GPUs of a cluster, the experiment stays as it is, and the pool decides once it is connected.

    Raises:
        ConfigurationError: The device is `cuda`, and members would be evaluated on this machine, which has no GPU.
    """
    if configuration["workers"] != 0 and _address(configuration):
        return experiment
    return experiment.with_device(visible_gpus())


def start_pool(
    configuration: Configuration, experiment: Experiment, console: Screen, sync: str, *, short: bool
) -> Pool:
    """The pool: this process, Ray, or one after the other. Ray is imported only where it is started.

    Args:
        configuration: The resolved configuration.
        experiment: What members are made of and evaluated on.
        console: Receives what the pool has to say.
        sync: What travels to workers: `auto`, `broadcast` or `replay`.
        short: Whether there is so little to evaluate that `workers: auto` is to stay in this process.

    Raises:
        ConfigurationError: The device is `cuda` and there is no GPU.
        ClusterError: No cluster can be reached, or it has no room for a worker.
    """
    pairs = (configuration["chunk_size"] or 0) // 2 or None
    where = evaluates_here(configuration, experiment.device)
    if where == "always" or (where == "at first" and short):
        from distes.pools.serial import SerialPool

        serial = SerialPool(experiment, pairs_per_chunk=pairs, waiting=console.waiting)
        if serial.device == "cuda":
            console.say(progress(f"Members are evaluated in this process, on {serial.place}."))
        return serial
    workers: dict[str, Any] = {
        "workers": None if configuration["workers"] == "auto" else configuration["workers"],
        **{name: configuration[name] for name in ("min_workers", "start_timeout", "chunk_timeout", "oversubscribe")},
        "sync": sync,
        "show": console.table,
    }
    if where == "at first":
        from distes.pools.auto import AutoPool

        return AutoPool(
            experiment, cores=cores(), pairs_per_chunk=pairs, ray=workers, say=console.say, waiting=console.waiting
        )
    from distes.pools.on_ray.environment import set_variables

    set_variables()
    from distes.pools.on_ray.pool import RayPool

    return RayPool(
        experiment,
        address=_address(configuration),
        pairs_per_chunk=pairs,
        say=console.say,
        waiting=console.waiting,
        **workers,
    )


def sum_on(perturbation: Perturbation, device: str, say: Callable[[str], None]) -> None:
    """Makes the driver compute the update on the device that members are evaluated on, if it has such a device.

    In a run on GPUs, a driver without a GPU computes the update on its CPU, and says so: a perturbation's sums may be
    rounded differently on the two.

    Args:
        perturbation: Computes the update's sums.
        device: `cpu` or `cuda`.
        say: Takes a line for the user.
    """
    if device == "cuda":
        if visible_gpus():
            configure_torch("cuda")  # as workers do, so that their updates have the same bits
            perturbation.device = "cuda"
        else:
            say(
                warning(
                    "This process sees no GPU: it forms the update on its processor, whose last bits may be other ones."
                )
            )


def _address(configuration: Configuration) -> str | None:
    address: str | None = configuration["address"] or os.environ.get("RAY_ADDRESS")
    return address
