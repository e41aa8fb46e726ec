"""The keys of the configuration and their ranges, and the classes that may be chosen."""

import math
from typing import Literal

from distes import HOMES
from distes.api.configuration import objects
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.signature import Argument, arguments
from distes.errors import ConfigurationError, did_you_mean
from distes.errors.imports import import_class, import_object
from distes.noise.draws import MAX_EPISODES
from distes.noise.table import NoiseTable

BASES = {
    "task": "distes.tasks.base.Task",
    "policy": "torch.nn.Module",
    "strategy": "distes.strategies.base.Strategy",
    "perturbation": "distes.perturbations.base.Perturbation",
}
# Arguments that distes itself passes to a constructor that declares them; under "" those of Trainer and RunStore.
SUPPLIED = {
    "": {
        "task",
        "strategy",
        "noise",
        "pool",
        "monitors",
        "callbacks",
        "archive",
        "waiting",
        "run_directory",
        "policy",
        "description",
        "say",
        "experiment",
    },
    "task": set[str](),
    "policy": {"observation_size", "observation_shape", "action_size"},
    "strategy": {"centre_P", "perturbation", "seed", "sensitivity"},
    "perturbation": {"noise", "layout"},
}
SEED = Argument("seed", int, 0, "Seed of all directions, all episodes and the policy's initial parameters.")
# Where and how to run; the other keys of the top level are arguments of Trainer and RunStore.
OPTIONS = [
    Argument("run_dir", str | None, None, "The directory that the run is written to; null makes runs/TASK-DATE-TIME."),
    Argument(
        "workers",
        Literal["auto"] | int | None,
        "auto",
        "Worker processes, on Ray. 0 evaluates in this process. auto begins in this process, and brings in a worker "
        "per core once that pays: after 10 seconds of evaluation, if they save more time than they cost. null starts a "
        "worker per core or GPU at once, and so does auto with an address or several GPUs. The result is the same.",
    ),
    Argument(
        "device",
        Literal["auto", "cpu", "cuda"],
        "auto",
        "The device that members are evaluated on. auto takes GPUs, if there are any, for environments that live on "
        "tensors and for policies of 300,000 parameters and more. A resumed run keeps its device unless another is "
        "given.",
    ),
    Argument("min_workers", int, 1, "Workers that must be ready before training begins; the others join later."),
    Argument("start_timeout", float, 300.0, "Seconds that Ray, and then min_workers, may take to start."),
    Argument(
        "chunk_timeout",
        float | None,
        None,
        "Seconds after which a worker that does not answer is replaced; null takes ten times the duration of the "
        "slowest chunk so far, and at least a minute.",
    ),
    Argument(
        "address", str | None, None, "Address of a Ray cluster, HOST:PORT or auto; null starts Ray on this machine."
    ),
    Argument(
        "sync",
        Literal["auto", "broadcast", "replay"],
        "auto",
        "What travels to the workers. broadcast sends the parameters, once to each node. replay sends fitnesses, from "
        "which each worker takes the strategy's step itself. auto replays on GPUs from 10 million parameters on. The "
        "result is the same.",
    ),
    Argument("oversubscribe", bool, False, "Whether to start more workers than there are cores."),
    Argument("chunk_size", int | None, None, "Members in a chunk, an even number; null chooses by population size."),
    Argument(
        "monitors",
        list[str],
        ["tensorboard"],
        "What records the run beside metrics.jsonl, which is always written: tensorboard, csv, wandb, mlflow, "
        "or the import path of a subclass of distes.runs.monitors.base.Monitor.",
    ),
    Argument(
        "tensorboard_axis",
        Literal["timesteps", "generations"],
        "timesteps",
        "What TensorBoard's horizontal axis counts.",
    ),
    Argument("quiet", bool, False, "Print only warnings and how the run ended."),
    Argument("debug", bool, False, "Show the traceback of an error."),
]
# What may change when a run is resumed.
BUDGET_AND_PLACE = {
    *("generations", "total_timesteps", "max_seconds", "target_fitness"),
    *("workers", "min_workers", "start_timeout", "chunk_timeout", "sync"),
    *("eval_episodes", "eval_every", "final_episodes"),
    *("device", "address", "oversubscribe", "run_dir", "checkpoint_seconds", "keep_checkpoints", "debug", "quiet"),
    *("keep_checkpoints_every", "record_population", "record_population_max_bytes", "monitors", "tensorboard_axis"),
    *("film_every", "alignment_every"),
    "task.log_info",  # recorded, and never learnt from
}
# Minimum and maximum of top-level keys.
RANGES = {
    "seed": (0, 2**64 - 1),
    "workers": (0, 2**20),
    "min_workers": (1, 2**20),
    "start_timeout": (1, math.inf),
    "chunk_timeout": (0.1, math.inf),
    "generations": (1, math.inf),
    "total_timesteps": (1, math.inf),
    "max_seconds": (0, math.inf),
    "target_fitness": (-math.inf, math.inf),
    "eval_episodes": (0, MAX_EPISODES),
    "eval_every": (1, math.inf),
    "final_episodes": (0, MAX_EPISODES),
    "chunk_size": (2, math.inf),
    "checkpoint_seconds": (0, math.inf),
    "keep_checkpoints": (1, math.inf),
    "keep_checkpoints_every": (1, math.inf),
    "record_population_max_bytes": (0, math.inf),
    "film_every": (1, math.inf),
    "alignment_every": (1, math.inf),
}


# Import paths that files of earlier versions hold, where a class has moved since.
EARLIER = {"Gym": "distes.tasks.gym.Gym", "Supervised": "distes.tasks.supervised.Supervised"}


def short_name(section: str, path: str) -> str:
    """Returns the short name of a distes class, given either its short name or its import path; other paths unchanged.

    Files hold short names, so that they stay valid if a class moves.
    """
    name = path.rpartition(".")[2]
    known = name in CLASSES[section] and path in (f"{HOMES[name]}.{name}", f"distes.{name}", EARLIER.get(name))
    return name if known else path


def chosen_class(section: str, path: str) -> type:
    """Imports the class chosen for a part, by its short name or its import path; that of an object that was given.

    Raises:
        ConfigurationError: There is no such class, or it has the wrong base class.
    """
    names = CLASSES[section]
    if objects.is_object(path):
        given = objects.chosen(section, path, base_of(section))
        return given if isinstance(given, type) else type(given)
    if (name := short_name(section, path)) in names:
        path = f"{HOMES[name]}.{name}"
    if "." not in path:
        raise ConfigurationError(
            f"{section} {path!r} is unknown: choose {', '.join(names)}, or the import path of a class."
            f"{did_you_mean(path, names)}"
        )
    return import_class(section, path, BASES[section])


def base_of(section: str) -> type:
    """The class that every class of a part derives from."""
    found: type = import_object(section, BASES[section])
    return found


def own_arguments(component: type, section: str = "") -> dict[str, Argument]:
    """The arguments of a constructor that a user configures, by name."""
    return {name: one for name, one in arguments(component, section).items() if name not in SUPPLIED[section]}


def schema(classes: dict[str, str]) -> dict[str, Argument]:
    """All keys of a configuration with these classes, in the order in which files hold them."""
    from distes.runs.store import RunStore
    from distes.training.trainer import Trainer

    found = [SEED, *own_arguments(Trainer).values(), *own_arguments(RunStore).values(), *OPTIONS]
    for section, path in classes.items():
        if not (objects.is_object(path) and not isinstance(objects.found(path, section), type)):
            found += own_arguments(chosen_class(section, path), section).values()
    found += arguments(NoiseTable, "noise").values()
    return {argument.key: argument for argument in found}
