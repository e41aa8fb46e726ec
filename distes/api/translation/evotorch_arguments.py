"""EvoTorch's keyword arguments, of a problem and of a search algorithm, from a Python file or a mapping.

A mapping has the classes as keys: `{GymNE: {env: ..., network: ...}, PGPE: {popsize: ...}, run: 500}`.
"""

import ast
import math
from collections.abc import Mapping
from typing import Any

from distes.api.translation.environment_ids import set_environment
from distes.api.translation.evotorch_network import set_network
from distes.api.translation.literals import has_code, parsed, value_of
from distes.api.translation.readings import even, mapping, number, optional, text, whole
from distes.api.translation.translated import Rule, Translation
from distes.errors import ConfigurationError

PROBLEMS = ("GymNE", "VecGymNE")
STRATEGIES = {"PGPE": "PGPE", "SNES": "SNES", "CMAES": "SepCMAES"}
# What else EvoTorch has; named in messages.
OTHERS = ["CEM", "Cosyne", "GeneticAlgorithm", "MAPElites", "PyCMAES", "SteadyStateGA", "XNES"]
NO_PROBLEMS = ["SupervisedNE", "Problem", "NEProblem", "BaseNEProblem", "VecNE"]
KNOWN = frozenset((*PROBLEMS, *STRATEGIES, *OTHERS, *NO_PROBLEMS))
POSITIONAL = ("env", "network")
ACTORS = "where it ran: workers says it here, and the result does not depend on it"
OF_PROBLEM = {
    "env_config": Rule("task.env_kwargs"),
    "num_episodes": Rule("task.episodes_per_member", whole),
    "episode_length": Rule("task.max_steps", optional(whole)),
    "decrease_rewards_by": Rule("task.reward_shift", lambda value: 0.0 if value is None else number(value)),
    "action_noise_stdev": Rule("task.action_noise", lambda value: 0.0 if value is None else number(value)),
}
MEANINGLESS = {
    "num_actors": ACTORS,
    "actor_config": ACTORS,
    "num_gpus_per_actor": ACTORS,
    "num_subbatches": ACTORS,
    "subbatch_size": ACTORS,
    "max_num_envs": ACTORS,
    "device": "device says it here",
    "distributed": "ranks are always those of the whole population",
    "popsize_weighted_grad_avg": "it is about distributed=True",
    "ensure_even_popsize": "members come in pairs",
    "obj_index": "there is one objective",
}
GENERATION = {
    "popsize": Rule("strategy.population_size", optional(even)),
    "num_interactions": Rule("strategy.timesteps_per_generation", optional(whole)),
    "popsize_max": Rule("strategy.max_population", optional(even)),
}
OF_STRATEGY = {
    "PGPE": {
        **GENERATION,
        "center_learning_rate": Rule("strategy.learning_rate", number),
        "stdev_learning_rate": Rule("strategy.sigma_learning_rate", number),
        "stdev_max_change": Rule("strategy.sigma_max_change", number),
        "stdev_init": Rule("strategy.sigma", number),
        "radius_init": Rule("strategy.radius", number),
    },
    "SNES": {
        **GENERATION,
        "center_learning_rate": Rule("strategy.learning_rate", lambda value: 1.0 if value is None else number(value)),
        "stdev_init": Rule("strategy.sigma", number),
    },
    "CMAES": {
        "popsize": GENERATION["popsize"],
        "stdev_init": Rule("strategy.sigma", number),
    },
}
RANKINGS = {"centered": "centered_rank", "normalized": "zscore", "raw": "raw", None: "raw"}
OPTIMIZERS = {"clipup": "ClipUp", "adam": "Adam", "sgd": "SGD"}
# Values that are as it is here.
AS_HERE: dict[str, tuple[Any, ...]] = {
    "center_init": (None,),
    "stdev_min": (None,),
    "stdev_max": (None,),
    "symmetric": (True,),
    "alive_bonus_schedule": (None,),
    "scale_learning_rate": (True,),
    "c_m": (1, 1.0),
    "active": (True,),
    "csa_squared": (False,),
    "limit_C_decomposition": (True, False),
}
NO_KEY = "distes has no key for it"


def calls(text: str) -> dict[str, dict[str, Any]]:
    """Reads the calls of EvoTorch's classes in a Python file. Nothing is run.

    Names of values that the file gives before (`RADIUS = 2.25`), and arithmetic on numbers, are understood.

    Returns:
        For each search algorithm a mapping of its arguments and of those of the problem before it, as `translate`
        takes it.

    Raises:
        ConfigurationError: It is not Python, or calls an algorithm twice.
    """
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, Any] = {}
    problem: dict[str, Any] = {}
    for statement in parsed(text, "exec").body:
        for node in ast.walk(statement):
            name, given = _call(node, names)
            if name in PROBLEMS or name in NO_PROBLEMS:
                problem = {name: given}
            elif name == "run" and found:
                found[next(reversed(found))]["run"] = given
            elif name in STRATEGIES or name in OTHERS:
                if name in found:
                    raise ConfigurationError(f"it calls {name} twice: keep the call that is meant")
                found[name] = {**problem, name: given}
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                names[target.id] = value_of(statement.value, names)
    return found or ({"problem": problem} if problem else {})


def _call(node: ast.AST, names: Mapping[str, Any]) -> tuple[str, Any]:
    """The class that a node calls, and its arguments; `run`, and its argument; or an empty name."""
    match node:
        case ast.Call(func=ast.Attribute(attr="run"), args=[first]):
            return "run", value_of(first, names)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in KNOWN:
            given = {one.arg: value_of(one.value, names) for one in node.keywords if one.arg}
            if any(one.arg is None for one in node.keywords):
                raise ConfigurationError(f"{name} takes **arguments, which are not written there: write them out")
            if name in PROBLEMS:
                given.update(zip(POSITIONAL, (value_of(one, names) for one in node.args), strict=False))
            return name, given
    return "", None


def translate(given: dict[str, Any], source: str) -> Translation:
    """Translates arguments of a problem and of a search algorithm.

    Args:
        given: A mapping of the classes' arguments, as `calls` returns.
        source: The library's name.
    """
    problems = [name for name in PROBLEMS if name in given]
    searches = [name for name in STRATEGIES if name in given]
    arguments: dict[str, Any] = {}
    translation = Translation(source, {})
    for name in sorted(given.keys() - {*PROBLEMS, *STRATEGIES, "run"}):
        translation.refuse(name, given[name], f"distes has {', '.join((*PROBLEMS, *STRATEGIES))}")
    if not translation.refused and len(problems) != 1:
        translation.refused.append(f"one problem is needed, {' or '.join(PROBLEMS)}; there is {_named(problems)}")
    if not translation.refused and len(searches) != 1:
        allowed = ", ".join(STRATEGIES)
        translation.refused.append(f"one search algorithm is needed, of {allowed}; there is {_named(searches)}")
    if translation.refused:
        return translation
    for name in (problems[0], searches[0]):
        if not isinstance(given[name], dict | None):
            translation.refuse(name, given[name], "it must be a mapping of arguments")
            return translation
        for key, value in (given[name] or {}).items():
            if key in arguments:
                translation.refuse(key, value, "it stands twice")
            arguments[key] = value
    if "run" in given:
        arguments["run"] = given["run"]
    translation = Translation(source, arguments, opaque=("env_config", "optimizer_config", "network_args"))
    translation.apply({}, MEANINGLESS)
    for key in translation.unread():
        if has_code(translation.peek(key)):
            reason = "it is code, which is not run: write its value"
            translation.refuse(key, translation.take(key), f"{reason}, or set policy" if key == "network" else reason)
    _problem(translation)
    _search(translation, searches[0])
    return translation


def _named(names: list[str]) -> str:
    return " and ".join(names) or "none"


def _problem(translation: Translation) -> None:
    translation.rename("env_name", "env")
    if translation.has("env"):
        given = translation.take("env")
        if isinstance(given, str) and "::" in given:
            translation.refuse("env", given, "environments of brax have no counterpart; those of MuJoCo have twins")
        else:
            set_environment(translation, "env", given)
    normalised = translation.take("observation_normalization", False)
    said = translation.was("observation_normalization")
    translation.set("task.normalize_observations", normalised, said)
    if normalised:
        translation.set("task.observation_fraction", 1.0, said)
    if translation.has("network"):
        set_network(translation)
    translation.apply(OF_PROBLEM, {})
    for key, values in AS_HERE.items():
        translation.only(key, values, NO_KEY)


def _search(translation: Translation, name: str) -> None:
    translation.choose("strategy", STRATEGIES[name], f"the algorithm: {name}")
    translation.apply(OF_STRATEGY[name], {})
    if name == "CMAES" and not translation.take("separable", False):
        translation.refuse("separable", False, "SepCMAES is separable; docs/ask_and_tell.md has the full matrix")
    if name == "PGPE":
        method = translation.take("ranking_method", "centered", optional(text))
        if method in RANKINGS:
            translation.set("strategy.fitness_shaping", RANKINGS[method], translation.was("ranking_method"))
        else:
            translation.refuse("ranking_method", method, "PGPE has centered, normalized and raw")
        _optimizer(translation)
    elif name == "SNES":
        translation.only("ranking_method", ("nes",), "SNES has nes")
        translation.only("stdev_learning_rate", (None,), "SNES takes its published value, which None stands for")
        translation.only("optimizer", (None,), "SNES has none")
        reason = "SNES begins with stdev_init, which is the radius over the root of the number of parameters"
        translation.only("radius_init", (None,), reason)
    generations = translation.take("run", None, optional(whole))
    if generations is not None:
        translation.set("generations", generations, translation.was("run"))
    translation.set("target_fitness", math.inf, "their search sets no target")


def _optimizer(translation: Translation) -> None:
    name = translation.take("optimizer", "clipup", text)
    if name not in OPTIMIZERS:
        translation.refuse("optimizer", name, f"it is one of {', '.join(OPTIMIZERS)}")
        return
    translation.set("strategy.optimizer", OPTIMIZERS[name], translation.was("optimizer"))
    given = translation.take("optimizer_config", {}, mapping)
    if "beta1" in given or "beta2" in given:
        given["betas"] = [given.pop("beta1", 0.9), given.pop("beta2", 0.999)]
    if "epsilon" in given:
        given["eps"] = given.pop("epsilon")
    if given:
        translation.set("strategy.optimizer_args", given, translation.was("optimizer_config"))
