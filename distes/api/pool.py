"""Where members are evaluated: the device, and the pool that a configuration asks for."""

import os
from collections.abc import Callable

from distes.api.configuration import Configuration
from distes.api.screens import Screen
from distes.perturbations.base import Perturbation
from distes.pools.base import Pool
from distes.pools.device import configure_torch, visible_gpus
from distes.pools.experiment import Experiment


def decide_device(configuration: Configuration, experiment: Experiment) -> Experiment:
    """The experiment on the device that members are evaluated on.

    If that depends on the GPUs of a cluster, the experiment stays as it is, and the pool decides once it is connected.

    Raises:
        ConfigurationError: The device is `cuda`, and members would be evaluated on this machine, which has no GPU.
    """
    if configuration["workers"] != 0 and _address(configuration):
        return experiment
    return experiment.with_device(visible_gpus())


def start_pool(configuration: Configuration, experiment: Experiment, console: Screen, sync: str) -> Pool:
    """The pool: this process for `workers: 0`, otherwise Ray, which is imported only then.

    Args:
        configuration: The resolved configuration.
        experiment: What members are made of and evaluated on.
        console: Receives what the pool has to say.
        sync: What travels to workers: `auto`, `broadcast` or `replay`.

    Raises:
        ConfigurationError: The device is `cuda` and there is no GPU.
        ClusterError: No cluster can be reached, or it has no room for a worker.
    """
    pairs = (configuration["chunk_size"] or 0) // 2 or None
    if configuration["workers"] == 0:
        from distes.pools.serial import SerialPool

        serial = SerialPool(experiment, pairs_per_chunk=pairs)
        if serial.device == "cuda":
            console.say(f"Members are evaluated in this process, on {serial.place}.")
        return serial
    from distes.pools.on_ray.environment import set_variables

    set_variables()
    from distes.pools.on_ray.pool import RayPool

    return RayPool(
        experiment,
        workers=configuration["workers"],
        min_workers=configuration["min_workers"],
        start_timeout=configuration["start_timeout"],
        chunk_timeout=configuration["chunk_timeout"],
        sync=sync,
        address=_address(configuration),
        oversubscribe=configuration["oversubscribe"],
        pairs_per_chunk=pairs,
        say=console.say,
        show=console.table,
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
            say("This process sees no GPU: it forms the update on its processor, whose last bits may be other ones.")


def _address(configuration: Configuration) -> str | None:
    address: str | None = configuration["address"] or os.environ.get("RAY_ADDRESS")
    return address
