"""Training from Python: `distes.train` and `distes.resume` take what the command takes, and objects besides."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from distes.api.configuration import shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.keys import schema
from distes.api.configuration.layers import DEFAULTS, Layer, read_file
from distes.api.configuration.objects import Objects, all_texts
from distes.api.configuration.resolution import Configuration, resolve
from distes.api.configuration.resolution import resume as stored
from distes.api.running.launch import train_and_return
from distes.api.running.own_arguments import require_known
from distes.api.saved.run import Run
from distes.errors import ConfigurationError
from distes.errors.trust import only_own
from distes.pools.on_ray.environment import STAYS
from distes.runs.monitors.base import Monitor
from distes.tasks.base import Task
from distes.training.callbacks import Callback

File = str | os.PathLike[str]


def train(
    problem: Any = None,
    /,
    *,
    config: File | Sequence[File] = (),
    callbacks: Callback | Sequence[Callback] = (),
    quiet: bool = False,
    **keys: Any,
) -> Run:
    """Trains a policy, as the command `distes train` does, and returns the run.

    A key has its name in YAML (`seed`, `strategy={"class_path": "ARS", "init_args": {...}}`), or its last part alone
    if one key of the chosen classes has it: `sigma` for `strategy.sigma`, `hidden_sizes` for `policy.hidden_sizes`.
    Without any argument, the run is the command's own default. The same keys give the same `params/sha256` as the
    command.

    Ctrl-C and SIGTERM end the run with its state saved; `run.result.reason` is then `interrupted`.

    Args:
        problem: An environment's id; a task, as an instance, a class or a class's name; or a callable that makes an
            environment. Workers on other machines receive it by value.
        config: A YAML file or the name of a configuration that comes with distes, or several; keys win over them.
        callbacks: A function of a generation's metrics (a dict) and `fitness_N2` (N, 2), called after each generation,
            or several. One that returns a text ends the run, and `result.json` has the text as reason. An exception
            ends the run with its state saved, and is raised here.
        quiet: Whether to show nothing. Messages go to the logger `distes`.
        keys: Keys of the configuration. `policy` may also be a module, a class or a function that returns a module;
            `strategy` and `perturbation` a class; `monitors` may contain instances of `Monitor`. Objects that cannot
            be imported by name are not in `config.yaml`: give them again to `resume` and `load`.

    Returns:
        The run.

    Raises:
        DistesError: Something that the user can act on. A new run that could not start leaves no run behind.
    """
    given, monitors = _apart(_with_problem(problem, keys))
    given_objects = Objects()
    with given_objects.offered(), _surroundings():
        files = [config] if isinstance(config, str | os.PathLike) else config
        layers = [DEFAULTS, *(read_file(shipped.locate(os.fspath(path))) for path in files)]
        configuration = resolve([*layers, _layer(given, given_objects, layers, train)])
        return _run(configuration, given_objects, quiet, callbacks, monitors, resumed=False)


def resume(
    run_dir: File,
    *,
    callbacks: Callback | Sequence[Callback] = (),
    quiet: bool = False,
    trust: bool = False,
    **keys: Any,
) -> Run:
    """Continues a run, bit for bit as if it had not been interrupted, and returns it.

    Args:
        run_dir: The run directory.
        callbacks: As in `train`.
        quiet: As in `train`.
        trust: Whether the run may import and call code that is not part of distes.
        keys: A longer budget (`generations`), another place (`workers`), and objects that the run was given.

    Raises:
        DistesError: Something that the user can act on, such as a key that a resumed run cannot change.
    """
    given, monitors = _apart(keys)
    given_objects, path = Objects(), os.fspath(run_dir)
    with given_objects.offered(), _surroundings():
        config = Path(path) / "config.yaml"
        layers = [DEFAULTS, *([read_file(config)] if config.is_file() else [])]
        texts = set(all_texts([layers[-1].classes, layers[-1].values]))
        given = {name: given_objects.as_named(value, name, texts) for name, value in given.items()}
        named = {
            text
            for text in (given_objects.plain(value, name) for name, value in given.items())
            if isinstance(text, str)
        }
        with nullcontext() if trust else only_own(str(config), named):
            layer = _layer(given, given_objects, layers, resume)
            configuration = stored(path, [layer])
            _require_consent(configuration, layer, config, trust)
            return _run(configuration, given_objects, quiet, callbacks, monitors, resumed=True)


def _run(
    configuration: Configuration,
    given: Objects,
    quiet: bool,
    callbacks: Callback | Sequence[Callback],
    monitors: Sequence[Monitor],
    *,
    resumed: bool,
) -> Run:
    result, path = train_and_return(
        configuration,
        resumed=resumed,
        show="nothing" if quiet else "progress",
        callbacks=[callbacks] if callable(callbacks) else callbacks,
        monitors=monitors,
    )
    return Run(path, result=result, objects=given, trust=True)


def _with_problem(problem: Any, keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys, and what the first argument stands for: `task` or `env`.

    Raises:
        ConfigurationError: The same is given twice.
    """
    if problem is None:
        return dict(keys)
    is_task = isinstance(problem, Task) or (isinstance(problem, type) and issubclass(problem, Task))
    name = "task" if is_task or (isinstance(problem, str) and problem in CLASSES["task"]) else "env"
    if name in keys or f"task.{name}" in keys:
        raise ConfigurationError(f"{name} is given twice: as the first argument, and by its name.")
    return {name: problem, **keys}


def _apart(keys: Mapping[str, Any]) -> tuple[dict[str, Any], list[Monitor]]:
    """The keys without instances of `Monitor`, which no file holds, and these instances."""
    if not isinstance(keys.get("monitors"), list | tuple):
        return dict(keys), []
    named = [one for one in keys["monitors"] if not isinstance(one, Monitor)]
    return {**keys, "monitors": named}, [one for one in keys["monitors"] if isinstance(one, Monitor)]


def _layer(keys: Mapping[str, Any], given: Objects, below: Sequence[Layer], call: Callable[..., Run]) -> Layer:
    """The layer of a call's keys.

    Args:
        keys: Values and objects by full key or by its last part.
        given: Receives the objects.
        below: The layers that it stands upon, which choose the classes that the keys do not.
        call: Whose keys they are, `train` or `resume`.

    Raises:
        ConfigurationError: A key is of several parts, or is given twice.
    """
    layer = Layer()
    plain = {name: given.plain(value, name) for name, value in keys.items()}
    for section in CLASSES.keys() & plain.keys():
        layer.add_class(section, plain.pop(section))
    noise = plain.pop("noise", {})
    if not isinstance(noise, dict):
        raise ConfigurationError(f"noise must be a mapping, as {{'size': 1e8}}; got {noise!r}.")
    layer.values.update({f"noise.{name}": value for name, value in noise.items()})
    classes: dict[str, str] = {}
    for one in [*below, layer]:
        classes.update(one.classes)
    known = schema(classes)
    require_known(plain, known, call)
    for name, value in plain.items():
        full = _full_key(name, known)
        if full in layer.values:
            raise ConfigurationError(f"{full} is given twice.")
        layer.values[full] = value
    return layer


def _full_key(name: str, known: Mapping[str, object]) -> str:
    """The key that a name means; a name that means none stays as it is, and `resolve` says so.

    Raises:
        ConfigurationError: Several keys end with the name.
    """
    if name in known:
        return name
    found = [key for key in known if key.rpartition(".")[2] == name]
    if len(found) > 1:
        ways = " or ".join(f"{key.partition('.')[0]}={{'init_args': {{{name!r}: ...}}}}" for key in found)
        raise ConfigurationError(f"{name!r} is ambiguous: {' and '.join(found)} end so. Give {ways}.")
    return found[0] if found else name


def _require_consent(configuration: Configuration, layer: Layer, config: Path, trust: bool) -> None:
    """Refuses to connect to a cluster whose address only a file names.

    Raises:
        ConfigurationError: There is such an address.
    """
    address = configuration["address"]
    if configuration["workers"] == 0 or address in (None, "auto") or trust or "address" in layer.values:
        return
    raise ConfigurationError(
        f"{config} has the address {address} of a Ray cluster, which would receive this machine's token and whatever "
        f"else the run sends: repeat with address={address!r} if the cluster is yours."
    )


@contextmanager
def _surroundings() -> Iterator[None]:
    """Restores the environment variables afterwards, which Ray and simulators set."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys() - {STAYS}:
            del os.environ[name]
        os.environ.update(before)
