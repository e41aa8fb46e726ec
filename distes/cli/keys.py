"""The keys of the configuration that are not arguments of a chosen class, and which classes may be chosen."""

import math
import re
from typing import Literal

from distes import HOMES
from distes.cli.signature import Argument, arguments
from distes.errors import ConfigurationError, did_you_mean
from distes.errors.imports import import_class
from distes.noise.draws import MAX_EPISODES
from distes.noise.table import NoiseTable

# The folder of distes that holds the classes of a part. A class of the front door that lives there has a short name,
# and the first of them is the default.
FOLDERS = {"task": "tasks", "policy": "policies", "strategy": "strategies", "perturbation": "perturbations"}
CLASSES = {
    section: [name for name, home in HOMES.items() if re.fullmatch(rf"distes\.{folder}\.(?!base$|layout$)\w+", home)]
    for section, folder in FOLDERS.items()
}
BASES = {
    "task": "distes.tasks.base.Task",
    "policy": "torch.nn.Module",
    "strategy": "distes.strategies.base.Strategy",
    "perturbation": "distes.perturbations.base.Perturbation",
}
# What distes itself hands to a constructor that declares it; under "", to the two that have the keys of the top level.
SUPPLIED = {
    "": {
        "task",
        "strategy",
        "noise",
        "pool",
        "monitors",
        "archive",
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
# Where and how to run; the other keys of the top level are arguments of Trainer and Archive.
OPTIONS = [
    Argument("run_dir", str | None, None, "Where the run is kept; null makes runs/TASK-DATE-TIME."),
    Argument(
        "workers", int | None, None, "Processes that evaluate members; 0: this one alone; null: one per core or GPU."
    ),
    Argument(
        "device",
        Literal["auto", "cpu", "cuda"],
        "auto",
        "Where members are evaluated. auto takes the GPUs where there are any and they pay: for environments that live "
        "on tensors, and for policies of 300,000 parameters and more. A run that is resumed keeps its device unless "
        "told otherwise.",
    ),
    Argument("min_workers", int, 1, "Workers that must be ready before training begins; the others join as they come."),
    Argument("start_timeout", float, 300.0, "Seconds that Ray, and then min_workers, may take to be there."),
    Argument(
        "chunk_timeout",
        float | None,
        None,
        "Seconds after which a worker that does not answer is given up; null: ten times as long as the slowest chunk "
        "so far, at least a minute.",
    ),
    Argument("address", str | None, None, "Of a Ray cluster, HOST:PORT or auto; null starts Ray on this machine."),
    Argument(
        "sync",
        Literal["auto", "broadcast", "replay"],
        "auto",
        "What travels to the workers. broadcast: the parameters, once to each node. replay: fitnesses, from which each "
        "worker takes the strategy's step by itself. auto: replay on GPUs from 10 million parameters on. The result is "
        "the same.",
    ),
    Argument("oversubscribe", bool, False, "Whether to start more workers than there are cores."),
    Argument("chunk_size", int | None, None, "Members handed out together, even; null chooses by population."),
    Argument("debug", bool, False, "Show where an error arose, not only what it is."),
]
# What may change when a run is resumed.
BUDGET_AND_PLACE = {
    *("generations", "total_timesteps", "max_seconds", "target_fitness"),
    *("workers", "min_workers", "start_timeout", "chunk_timeout", "sync"),
    *("eval_episodes", "eval_every", "final_episodes"),
    *("device", "address", "oversubscribe", "run_dir", "checkpoint_seconds", "keep_checkpoints", "debug"),
}
# Where a value of the top level may lie: at least, at most.
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
}


def short_name(section: str, path: str) -> str:
    """The short name of a class of distes, given that or its import path; another class's path as it is.

    Only short names are written into files, so that a class may move without making them void.
    """
    name = path.rpartition(".")[2]
    known = name in CLASSES[section] and path in (f"{HOMES[name]}.{name}", f"distes.{name}")
    return name if known else path


def chosen_class(section: str, path: str) -> type:
    """Imports the class chosen for a part, by its short name or its import path.

    Raises:
        ConfigurationError: There is no such class, or it cannot play that part.
    """
    names = CLASSES[section]
    if path in names:
        path = f"{HOMES[path]}.{path}"
    if "." not in path:
        raise ConfigurationError(
            f"{section} {path!r} is unknown: choose {', '.join(names)}, or the import path of a class."
            f"{did_you_mean(path, names)}"
        )
    return import_class(section, path, BASES[section])


def own_arguments(component: type, section: str = "") -> dict[str, Argument]:
    """The arguments of a constructor that a user configures, by their names in it."""
    return {name: one for name, one in arguments(component, section).items() if name not in SUPPLIED[section]}


def schema(classes: dict[str, str]) -> dict[str, Argument]:
    """All keys that exist once the classes are chosen, in the order in which they are written down."""
    from distes.runs.store import Archive
    from distes.training.trainer import Trainer

    found = [SEED, *own_arguments(Trainer).values(), *own_arguments(Archive).values(), *OPTIONS]
    for section, path in classes.items():
        found += own_arguments(chosen_class(section, path), section).values()
    found += arguments(NoiseTable, "noise").values()
    return {argument.key: argument for argument in found}
