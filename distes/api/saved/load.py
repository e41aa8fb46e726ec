"""Loads what a run saved: a policy with observations and actions, or a language model."""

import os
from collections.abc import Collection
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from distes.api.configuration.objects import Objects, arguments_of
from distes.api.saved.language_model import LanguageModel
from distes.api.saved.policy import Policy
from distes.api.saved.subnetwork_file import read_saved
from distes.errors import ConfigurationError, did_you_mean
from distes.errors.trust import only_own
from distes.policies.language.causal_lm import CausalLM
from distes.runs.policy_files import DESCRIPTION, SavedPolicy, Which, policy_folder

LANGUAGE = ("CausalLM", f"{CausalLM.__module__}.CausalLM")


def load(
    path: str | os.PathLike[str], which: Literal["best", "last"] = "best", *, trust: bool = False, **objects: Any
) -> Policy:
    """Loads the policy that a run saved.

    Args:
        path: The run directory, or its `policy` folder, also alone; or a file of `distes export --subnetwork`.
        which: The centre with the best evaluation, or the last one.
        trust: Whether the run may import and call code that is not part of distes: its own policy, an environment or a
            wrapper by import path.
        objects: What `distes.train` was given and no file holds, by the same names: `policy=module`, `env=function`.

    Raises:
        DistesError: There is no such policy, or it cannot be made. The message says what to do.

    Returns:
        The policy; for a language model, a `LanguageModel`.
    """
    given = Objects()
    named = {text for text in (given.given(value, name) for name, value in objects.items()) if isinstance(text, str)}
    with given.offered():
        return read(Path(path), which, trust=trust, named=named, given=given)


def read(
    path: Path,
    which: Literal["best", "last"] = "best",
    *,
    trust: bool = False,
    named: set[str] | None = None,
    given: Objects | None = None,
) -> Policy:
    """Reads a policy or a language model from a run directory or a policy folder, as `load` does.

    Args:
        path: As `load` takes it.
        which: As `load` takes it.
        trust: As `load` takes it.
        named: Import paths that may be imported without trust.
        given: What a program gave for objects that no file holds, if it did; they are offered already.
    """
    if which not in ("best", "last"):
        raise ConfigurationError(f"which must be 'best' or 'last'; got {which!r}.")
    source = path if path.is_file() else policy_folder(path) / DESCRIPTION
    with nullcontext() if trust else only_own(str(source), named or set()):
        saved = read_saved(path, which)
        if given is not None:
            _require_known(given.names, saved)
            given.stand_for(arguments_of({"task": saved.task, "policy": saved.policy}))
        return LanguageModel(saved) if is_language(saved) else Policy(saved)


def _require_known(names: Collection[str], saved: SavedPolicy) -> None:
    """Checks that what `load` was given has names that a run's objects can have.

    Raises:
        ConfigurationError: A name is none.
    """
    known = {"task", "policy", "strategy", "perturbation", *saved.task["init_args"], *saved.policy["init_args"]}
    for name in names:
        if name not in known:
            near = did_you_mean(name, ["which", "trust", *known])
            raise ConfigurationError(
                f"distes.load has no argument {name!r}, and the task and the policy of this run have none of that "
                f"name.{near}"
            )


def is_language(saved: SavedPolicy) -> bool:
    """Whether a saved policy is a language model."""
    return saved.policy["class_path"] in LANGUAGE


def require_language(path: Path, which: Which, what: str, hint: str = "") -> None:
    """Checks that a run's policy is a language model, before it is loaded.

    Args:
        path: As `load` takes it.
        which: As `load` takes it.
        what: What only a language model can do, the beginning of a sentence.
        hint: What to do otherwise, a sentence.

    Raises:
        ConfigurationError: It is another one.
        CheckpointError: There is none.
    """
    if not is_language(saved := read_saved(path, which)):
        kind = saved.policy["class_path"].rpartition(".")[2]
        raise ConfigurationError(f"{what}, the policy CausalLM; this one is {kind}.{hint and f' {hint}'}")
