"""The private parts of libraries that distes uses are still there; each library's are in one file, which says why."""

import inspect
from operator import attrgetter
from pathlib import Path

import pytest
import ray
import torch
from jsonargparse import ArgumentParser
from ray.exceptions import ActorDiedError, RayActorError

from distes.api.configuration.jsonargparse_internals import typed_actions
from distes.members.torch_internals import has_hooks, spare_the_compiler
from distes.pools.on_ray import ray_internals
from tests.support.small import ROOT

HOMES = {
    "ray._private": "pools/on_ray/ray_internals.py",
    "ray._raylet": "pools/on_ray/ray_internals.py",
    "RayletSocketName": "pools/on_ray/ray_internals.py",
    "actor_init_failed": "pools/on_ray/ray_internals.py",
    "._forward_hooks": "members/torch_internals.py",
    "__dynamo_disable": "members/torch_internals.py",
    "parser._actions": "api/configuration/jsonargparse_internals.py",
    "_typehint": "api/configuration/jsonargparse_internals.py",
}


@pytest.mark.parametrize("name", HOMES)
def test_a_private_part_is_named_in_one_file(name: str) -> None:
    users = [path for path in (ROOT / "distes").rglob("*.py") if name in path.read_text()]
    assert users == [ROOT / "distes" / HOMES[name]]


@pytest.mark.parametrize(
    "name",
    [
        "_private.worker.print_to_stdstream",
        "_private.worker.custom_excepthook",
        "_private.worker.normal_excepthook",
        "_private.worker.shutdown",
        "_private.worker._global_node",
        "_private.services.find_gcs_addresses.cache_clear",
        "_private.services.get_ray_address_from_environment",
        "_private.services.ConsolePopen",
        "_private.ray_constants.ENABLE_RAY_CLUSTER",
        "_raylet.AuthenticationTokenLoader",
    ],
)
def test_ray_still_has(name: str) -> None:
    attrgetter(name)(ray)


def test_ray_still_takes_an_address_and_a_folder() -> None:
    """Private arguments of `ray.init`, which it takes as keywords and checks by name."""
    source = inspect.getsource(ray.init)
    for argument in ray_internals.loopback_arguments(Path("folder")):
        assert f'"{argument}"' in source


def test_ray_still_says_whether_a_constructor_raised() -> None:
    assert not ray_internals.constructor_raised(ActorDiedError())
    assert hasattr(RayActorError(), "actor_init_failed")


def test_ray_s_messages_are_said_once_each_and_then_printed_again() -> None:
    before, said = ray._private.worker.print_to_stdstream, list[str]()
    undo = ray_internals.redirect_messages(said.append)
    for _ in range(2):
        ray._private.worker.print_to_stdstream({"lines": ["A node died. Possible reasons include: (1)\nmore"]}, False)
    undo()
    assert said == ["Ray: A node died."]
    assert ray._private.worker.print_to_stdstream is before


def test_torch_still_tells_of_hooks() -> None:
    module = torch.nn.Linear(1, 1)
    assert not has_hooks(module)
    module.register_forward_hook(lambda *_: None)
    assert has_hooks(module)


def test_torch_still_marks_what_is_not_to_be_compiled() -> None:
    spare_the_compiler()
    assert hasattr(inspect.unwrap(torch.optim.Optimizer.add_param_group), "__dynamo_disable")


def test_jsonargparse_still_tells_types() -> None:
    parser = ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--size", type=int)
    assert [(action.dest, hint) for action, hint in typed_actions(parser)] == [("size", int)]
