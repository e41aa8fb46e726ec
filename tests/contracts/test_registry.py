"""No class of the package escapes its contract suite."""

import importlib
import inspect
import pkgutil

import pytest
from torch import nn

from distes.api.configuration.keys import CLASSES
from distes.perturbations.base import Perturbation
from distes.pools.base import Pool
from distes.strategies.base import Strategy
from distes.tasks.base import Task
from tests.contracts import registry

SUITES = {
    "perturbations": (Perturbation, registry.PERTURBATIONS),
    "strategies": (Strategy, registry.STRATEGIES),
    "policies": (nn.Module, registry.POLICIES),
    "tasks": (Task, registry.TASKS),
    "pools": (Pool, registry.POOLS),
}


def found(package: str, base: type) -> set[str]:
    """The classes one can make that a package's modules define."""
    folder = importlib.import_module(f"distes.{package}")
    modules = [
        importlib.import_module(entry.name)
        for entry in pkgutil.walk_packages(folder.__path__, prefix=f"{folder.__name__}.")
    ]
    return {
        name
        for module in modules
        for name, one in vars(module).items()
        if inspect.isclass(one) and issubclass(one, base) and one.__module__ == module.__name__
        if not inspect.isabstract(one) and not name.startswith("_")
    }


@pytest.mark.parametrize("package", SUITES)
def test_every_class_is_in_the_registry(package: str) -> None:
    base, listed = SUITES[package]
    parts = registry.LAYERS_OF_POLICIES | registry.TAKE_TOKENS if package == "policies" else set()
    assert found(package, base) == {name.partition(",")[0] for name in listed} | parts


@pytest.mark.parametrize("section", CLASSES)
def test_every_class_has_a_short_name_in_configurations(section: str) -> None:
    package = {"strategy": "strategies", "policy": "policies"}.get(section, f"{section}s")
    parts = registry.LAYERS_OF_POLICIES if package == "policies" else set()
    assert found(package, SUITES[package][0]) - parts == set(CLASSES[section])
