"""Every numeric argument of every class, given numbers that nobody means: objects or a sentence, and no vast memory."""

import contextlib
import re
import resource
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_origin

import gymnasium
import numpy as np
import pytest

from distes.api.building.build import build
from distes.api.configuration.keys import CLASSES, schema
from distes.api.configuration.layers import DEFAULTS
from distes.api.configuration.signature import Argument, _kinds
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.errors import DistesError
from distes.training.budget import Budget

VALUES = ["-1", "0", "3", "0.5", "1e-320", "1e300", "1e9", "4611686018427387904", "9223372036854775808"]
VALUES += [".inf", ".nan", "9" * 5000, "-1" + "0" * 300]
SMALL = ["--task", "Function", "--policy", "Linear"]
# Where each kind of class is at home.
AROUND = {
    "task": ["--policy", "Linear"],
    "policy": [],
    "strategy": [*SMALL, "--task.behaviour", "true"],
    "perturbation": SMALL,
    "noise": SMALL,
    "": SMALL,
}
ROOM = 2**30  # bytes beyond what is in use
PICTURES = f"{__name__}.Pictures"


class Pictures(gymnasium.Env[Any, Any]):
    """Images, for CNN."""

    observation_space = gymnasium.spaces.Box(0, 255, (44, 44, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.zeros((44, 44, 3), np.uint8), {}

    def step(self, action: Any) -> Any:
        return np.zeros((44, 44, 3), np.uint8), 1.0, True, False, {}


def numeric(section: str, name: str) -> list[Argument]:
    classes = {**DEFAULTS.classes, **({section: name} if section in CLASSES else {})}
    of_section = [one for key, one in schema(classes).items() if key.rpartition(".")[0] == section]
    return [one for one in of_section if {int, float} & set(_kinds(one.hint))]


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Whoever asks for much more than there is in use gets a MemoryError, and this machine stays alive."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


TINY = "tests.support.tiny_language.folder"
PARTS = [(section, name) for section, names in CLASSES.items() for name in names] + [("noise", ""), ("", "")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "name"), PARTS)
def test_objects_or_a_sentence(section: str, name: str) -> None:
    chosen = [f"--{section}", name] if section in CLASSES else []
    chosen += {
        "CNN": ["--task.env", PICTURES],
        "BernoulliES": ["--policy", "Subnetwork"],
        "Language": ["--policy", "CausalLM", "--policy.path", TINY],
        "CausalLM": ["--task", "Language", "--policy.path", TINY],
    }.get(name, [])
    around = [*AROUND[section], *chosen, *([] if section == "noise" else ["--noise.size", "500000"])]
    build(configure(read_flags(around)))[0].strategy.ask()  # what is at home there works
    for argument in numeric(section, name):
        for value in VALUES:
            is_list = get_origin(argument.hint) is Sequence
            given = configured([*around, f"--{argument.key}", f"[{value}]" if is_list else value])
            assert given is None or not is_nan(given), f"{argument.key} took {value[:30]}"


def configured(argv: list[str]) -> Any:
    """Builds, asks for a population, and returns the configuration; None where a sentence says what is wrong."""
    with little_memory(), contextlib.suppress(DistesError, MemoryError):  # the latter is said, and ends with 2
        configuration = configure(read_flags(argv))
        build(configuration)[0].strategy.ask()
        return configuration
    return None


def is_nan(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(is_nan, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value != value


WRONG = {
    "--seed " + "9" * 5000: r"seed must be int; got '9999",
    "--generations 1e300": r"generations must be int or null; a whole number of 301 digits is too large",
    "--task.episodes_per_member 1e300": r"task.episodes_per_member must be int; a whole number of 301 digits is too",
    "--task.episodes_per_member 1000001": r"task.episodes_per_member must be at most 1,000,000; got 1,000,001",
    "--strategy NSES --strategy.rollouts 1e9": r"strategy.rollouts must be at most 1,000,000; got 1,000,000,000",
    "--strategy DeepGA --strategy.validation_episodes 1e9": r"validation_episodes must be at most 1,000,000; got",
    "--strategy.sigma .nan": r"strategy.sigma must be a number; got nan",
    "--policy.hidden_sizes [0]": r"policy.hidden_sizes must all be at least 1; got \[0\]",
    "--policy Recurrent --policy.hidden_size 0": r"weight has the shape \(0, 4\): one of the sizes of Recurrent is 0",
    "--max_seconds .inf --generations null --target_fitness .inf": r"This run would never end",
}


@pytest.mark.parametrize("flags", WRONG, ids=lambda flags: flags[:40])
def test_numbers_that_are_refused(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["--workers", "0", *flags.split()]) == 2
    error = capsys.readouterr().err
    assert re.search(WRONG[flags], error), error


def test_a_limit_that_is_infinite_is_none() -> None:
    with pytest.raises(DistesError, match="would never end"):
        Budget(None, None, float("inf")).require_end(None)
    Budget(None, None, float("inf")).require_end(3.0)
