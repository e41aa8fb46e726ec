"""The policy folder of a run: the best and the last centre, and how to rebuild the module, without pickle.

    best.safetensors, last.safetensors   the module's state under torch's own parameter names; if observations were
                                         normalised, also `observation_normalization.mean` and `.std`
    policy.json                          how to rebuild policy and task; generation and evaluation of the two files

A parameter file holds its own generation and evaluation, so a crash between writing it and writing `policy.json` cannot
make them inconsistent. Loading reads numbers and names; it imports no module and runs no code.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import CheckpointError
from distes.population import Normalization
from distes.runs import atomic_files
from distes.runs.state_encoding import Arrays, array_of, pack, unpack

FORMAT = "distes policy 1"
DESCRIPTION = "policy.json"
MEAN, STD = "observation_normalization.mean", "observation_normalization.std"
Which = Literal["best", "last"]


@dataclass(frozen=True, eq=False)
class SavedPolicy:
    """A policy read from a run, the result of `load_policy`.

    Attributes:
        policy: `class_path` and `init_args` of the module.
        task: `class_path` and `init_args` of the task that it was trained on.
        observation_shape: Shape of an observation, without the batch axis.
        action_size: Number of the policy's outputs.
        module_state: Parameters and buffers by name, for `torch.nn.Module.load_state_dict`.
        normalization: Mean and standard deviation that observations are normalised with, or None.
        generation: The generation whose centre this is.
        eval_mean: The mean return of that centre's evaluation, or None if it was not evaluated.
        eval_episodes: Number of episodes of that evaluation; None if it was not evaluated, or if an older version of
            distes wrote the file.
        outdone: Mean and number of episodes of an evaluation with more or fewer episodes that was replaced, or None;
            see `distes.runs.best`.
        eval_std_error: Standard error of `eval_mean`; None if it is not known.
        parametrization: `class_path` and `init_args` of the policy that was searched, where `policy` is the module that
            it runs, such as the network of a `Subnetwork`; otherwise None.
        evaluation: For a language model, `perturbation` (`class_path` and `init_args`) and `seed` of the run, by which
            an evaluation is repeated to the bit; otherwise None.
    """

    policy: dict[str, Any]
    task: dict[str, Any]
    observation_shape: tuple[int, ...]
    action_size: int
    module_state: dict[str, torch.Tensor]
    normalization: Normalization | None
    generation: int
    eval_mean: float | None
    eval_episodes: int | None = None
    outdone: tuple[float, int] | None = None
    eval_std_error: float | None = None
    parametrization: dict[str, Any] | None = None
    evaluation: dict[str, Any] | None = None


def save_policy(
    directory: Path,
    name: Which,
    module_state: Mapping[str, torch.Tensor],
    normalization: Normalization | None,
    meta: Mapping[str, Any],
) -> None:
    """Replaces the best or the last policy of a run. Each file is replaced in one atomic step.

    Args:
        directory: The run's `policy` folder.
        name: "best" or "last".
        module_state: `module.state_dict()`, or a copy if the module may change meanwhile.
        normalization: Mean and standard deviation that observations were normalised with, or None.
        meta: `policy` and `task` (each a dict of `class_path` and `init_args`), `observation_shape`, `action_size`,
            `generation`, and `eval_mean` (a float, or None without an evaluation). If known, also `eval_episodes`,
            `eval_std_error`, `outdone`, `parametrization` and `evaluation`, as in `SavedPolicy`.

    Raises:
        CheckpointError: The policy could not be written. A file that was not replaced stays as it was.
        ValueError: A parameter of the module has the name of a normalisation array.
    """
    arrays = {key: np.asarray(array_of(tensor), order="C") for key, tensor in module_state.items()}
    if normalization is not None:
        if clash := {MEAN, STD} & arrays.keys():
            raise ValueError(f"a module's parameter is called {min(clash)!r}, a name that distes keeps for itself")
        arrays |= {MEAN: normalization.mean_O, STD: normalization.std_O}
    about = {
        "generation": int(meta["generation"]),
        "eval_mean": _number(meta["eval_mean"]),
        "eval_episodes": meta.get("eval_episodes"),
        "outdone": meta.get("outdone"),
        "eval_std_error": _number(meta.get("eval_std_error")),
    }
    bfloat16 = sorted(key for key, tensor in module_state.items() if tensor.dtype == torch.bfloat16)
    metadata = {"distes": json.dumps(about | {"bfloat16": bfloat16, "sha256": _digest(arrays)}, sort_keys=True)}
    try:
        directory.mkdir(exist_ok=True)  # without parents: a run directory that was removed stays removed
        saved = _saved(directory / DESCRIPTION)
        atomic_files.replace(directory / f"{name}.safetensors", pack(arrays, metadata))
        atomic_files.replace(directory / DESCRIPTION, _describe(meta, saved | {name: about}))
    except OSError as error:
        reason = atomic_files.reason(error)
        raise CheckpointError(f"The {name} policy could not be written into {directory}: {reason}.") from error


def load_policy(run_dir: Path | str, which: Which = "best") -> SavedPolicy:
    """Reads a saved policy of a run.

    Args:
        run_dir: The run directory, or its `policy` folder alone.
        which: "best" or "last".

    Raises:
        CheckpointError: There is no such policy, or it is damaged or cannot be read.
    """
    directory = policy_folder(run_dir)
    path = directory / f"{which}.safetensors"
    if not os.path.lexists(path):
        others = [name for name in ("best", "last") if (directory / f"{name}.safetensors").exists()]
        hint = f" The {others[0]} policy is there: --policy {others[0]}." if others else ""
        raise CheckpointError(f"{run_dir} holds no {which} policy: there is no {path}.{hint}")
    try:
        module_state, normalization, about = _read_parameters(path)
        path = directory / DESCRIPTION
        return SavedPolicy(**_read_description(path), **about, module_state=module_state, normalization=normalization)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {atomic_files.reason(error)}.") from error
    except (ValueError, LookupError, TypeError, ArithmeticError, RuntimeError) as error:  # with RecursionError
        raise CheckpointError(f"{path} is damaged or was not written by distes ({error}).") from error


def policy_folder(run_dir: Path | str) -> Path:
    """Returns the folder of policies: that of a run, or the given one if it holds `policy.json` itself."""
    path = Path(run_dir)
    return path if (path / DESCRIPTION).is_file() else path / "policy"


def _read_parameters(path: Path) -> tuple[dict[str, torch.Tensor], Normalization | None, dict[str, Any]]:
    arrays, metadata = unpack(atomic_files.read(path))
    if "distes" not in metadata:
        raise ValueError("it does not say where it comes from")
    about = json.loads(metadata["distes"])
    if about["sha256"] != _digest(arrays):
        raise ValueError("its numbers do not match their checksum")
    if type(about["generation"]) is not int:
        raise ValueError("its generation is not a whole number")
    normalization = None
    if MEAN in arrays:
        normalization = Normalization(arrays.pop(MEAN), arrays.pop(STD))
        if normalization.mean_O.shape != normalization.std_O.shape:
            raise ValueError("the shapes of its observation normalisation differ")
    bfloat16 = frozenset(about["bfloat16"])
    module_state = {key: _tensor(array, key in bfloat16) for key, array in arrays.items()}
    eval_mean = None if about["eval_mean"] is None else float(about["eval_mean"])
    # older files do not have these
    episodes, outdone, error = about.get("eval_episodes"), about.get("outdone"), about.get("eval_std_error")
    if type(episodes) not in (int, NoneType):
        raise ValueError("its number of evaluation episodes is not a whole number")
    return (
        module_state,
        normalization,
        {
            "generation": about["generation"],
            "eval_mean": eval_mean,
            "eval_episodes": episodes,
            "outdone": None if outdone is None else (float(outdone[0]), int(outdone[1])),
            "eval_std_error": None if error is None else float(error),
        },
    )


def _describe(meta: Mapping[str, Any], saved: Mapping[str, Any]) -> bytes:
    content = {
        "format": FORMAT,
        "policy": dict(meta["policy"]),
        "task": dict(meta["task"]),
        "observation_shape": list(meta["observation_shape"]),
        "action_size": int(meta["action_size"]),
        "saved": dict(saved),
    }
    if meta.get("parametrization") is not None:
        content["parametrization"] = dict(meta["parametrization"])
    if meta.get("evaluation") is not None:
        content["evaluation"] = dict(meta["evaluation"])
    return (json.dumps(content, indent=2) + "\n").encode()


def _read_description(path: Path) -> dict[str, Any]:
    content = json.loads(atomic_files.read(path))
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']!r}, this version of distes reads {FORMAT!r}")
    for part in ("policy", "task", "parametrization"):
        if part == "parametrization" and part not in content:
            continue
        if not isinstance(content[part]["class_path"], str) or not isinstance(content[part]["init_args"], dict):
            raise ValueError(f"its {part} is not a class_path with init_args")
    evaluation = content.get("evaluation")
    if evaluation is not None:
        part = evaluation["perturbation"]
        if not isinstance(part["class_path"], str) or not isinstance(part["init_args"], dict):
            raise ValueError("its perturbation is not a class_path with init_args")
        if type(evaluation["seed"]) is not int:
            raise ValueError("its seed is not a whole number")
    shape = tuple(content["observation_shape"])
    if not all(type(size) is int and size >= 0 for size in (*shape, content["action_size"])):
        raise ValueError("its sizes are not whole numbers")
    return {
        "policy": content["policy"],
        "task": content["task"],
        "observation_shape": shape,
        "action_size": content["action_size"],
        "parametrization": content.get("parametrization"),
        "evaluation": evaluation,
    }


def _saved(path: Path) -> dict[str, Any]:
    """Returns the entries of `policy.json` for the two files; empty if it is missing or damaged."""
    try:
        saved = json.loads(atomic_files.read(path))["saved"]
    except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _number(value: float | None) -> float | str | None:
    """Encodes a number for strict JSON: one that is not finite becomes text, which `float` reads."""
    return value if value is None or math.isfinite(value) else repr(float(value))


def _tensor(array: NDArray[Any], bfloat16: bool) -> torch.Tensor:
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
