"""Says what was meant by an argument of `train` or `resume` that is neither theirs nor a key of the configuration."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from distes.errors import ConfigurationError, did_you_mean

# What is tried, and the argument.
SYNONYMS = {
    "callback": "callbacks",
    "cb": "callbacks",
    "on_generation": "callbacks",
    "silent": "quiet",
    "cfg": "config",
    "conf": "config",
    "configuration": "config",
    "yaml": "config",
}
# What an argument of the one would be in the other.
ELSEWHERE = {
    ("train", "trust"): "what a program itself names is trusted. `distes.resume` and `distes.load` take it.",
    ("train", "problem"): "the problem is the first argument, without a name: distes.train(problem, ...).",
    ("train", "resume"): "distes.resume(RUN_DIR) continues a run.",
    ("resume", "config"): "a run keeps the configuration in its directory. Leave it out, or start a new run.",
}


def require_known(names: Iterable[str], keys: Mapping[str, object], call: Callable[..., Any]) -> None:
    """Checks that no name was probably meant as an argument of the call itself.

    Args:
        names: The names of what the call was given as keys.
        keys: All keys of the configuration.
        call: `distes.train` or `distes.resume`.

    Raises:
        ConfigurationError: One was. Any other name that is no key passes: the configuration refuses it.
    """
    own = [one.name for one in inspect.signature(call).parameters.values() if one.kind is one.KEYWORD_ONLY]
    last_parts = [key.rpartition(".")[2] for key in keys]
    for name in names:
        if name in keys or name in last_parts:
            continue
        if reason := ELSEWHERE.get((call.__name__, name)):
            raise ConfigurationError(f"distes.{call.__name__} has no argument {name!r}: {reason}")
        meant = did_you_mean(SYNONYMS.get(name.lower(), name), [*own, *last_parts])
        if any(f"{argument!r}" in meant for argument in own):
            raise ConfigurationError(f"distes.{call.__name__} has no argument {name!r}.{meant}")
