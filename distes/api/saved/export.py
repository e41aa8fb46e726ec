"""Exports a saved policy for programs without distes: ONNX, or torch.export. Checked before it counts as done."""

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.api.saved.policy import Policy
from distes.errors import ConfigurationError, raised
from distes.errors.installation import install

OBSERVATIONS = 1000
TOLERANCE = 1e-6


def export(policy: Policy, path: Path, form: str) -> float:
    """Writes a policy to a file, and compares what the file answers with `predict` on 1,000 observations.

    The file takes batches of observations (of a Dict, one input for each key; with a memory, also `state`) and
    answers with batches of actions (and the memory). Action masks come last, where the policy takes them. The file is
    written under another name until it has been checked.

    Args:
        policy: The policy.
        path: The file.
        form: `onnx` or `torch_export`.

    Returns:
        The largest difference between actions, and between memories.

    Raises:
        ConfigurationError: A package is missing, the policy cannot be exported, or the answers differ.
    """
    for package in ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ():
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"Exporting to ONNX needs {package}, which is not installed: {install('onnx')}.")
    if not path.parent.is_dir():
        raise ConfigurationError(f"{form}: there is no directory {path.parent}.")
    observed = policy.observations(OBSERVATIONS)
    partial = path.with_name(f".{path.stem}.partial{path.suffix or '.pt2'}")
    inputs = _inputs(policy, observed, slice(0, 2))
    try:
        program = torch.export.export(policy.module, tuple(inputs), dynamic_shapes=_dynamic(inputs))
        if form == "onnx":
            with _without_remarks():
                torch.onnx.export(program, (), str(partial), verbose=False, external_data=False)
        else:
            torch.export.save(program, partial)
        difference = _difference(policy, observed, partial, form)
        if not difference <= TOLERANCE:
            raise ConfigurationError(
                f"{form}: the exported policy differs from predict by {difference:.3g} on {OBSERVATIONS:,} "
                f"observations, more than {TOLERANCE:g}; nothing was written."
            )
        partial.replace(path)
    except (ConfigurationError, OSError):
        raise
    except Exception as error:
        raise ConfigurationError(f"{form}: the policy cannot be exported: it {raised(error)}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return difference


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Hides what torch's exporter says of packages and versions that a policy does not need; its errors are raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _inputs(policy: Policy, observed: Any, rows: slice) -> list[Any]:
    """The module's arguments for some rows."""
    arrays = {key: part[rows] for key, part in observed.items()} if isinstance(observed, dict) else observed[rows]
    count = len(next(iter(arrays.values())) if isinstance(arrays, dict) else arrays)
    tensors = (
        {key: torch.as_tensor(part) for key, part in arrays.items()}
        if isinstance(arrays, dict)
        else torch.as_tensor(arrays)
    )
    state = policy.initial_state(count)
    inputs = [tensors] if state is None else [tensors, torch.as_tensor(state)]
    masks = _masks(policy, range(len(_first(observed)))[rows])
    return inputs if masks is None else [*inputs, torch.as_tensor(masks)]


def _first(observed: Any) -> Any:
    return next(iter(observed.values())) if isinstance(observed, dict) else observed


def _masks(policy: Policy, rows: range) -> NDArray[np.bool_] | None:
    """Action masks to compare answers by, a function of the row's number; None where the policy takes none."""
    if policy.action_mask is None:
        return None
    size = policy.saved.action_size
    masks = [np.random.default_rng(row).random(size) < 0.5 for row in rows]
    for row, mask in zip(rows, masks, strict=True):
        mask[row % size] = True
    return np.stack(masks)


def _dynamic(inputs: list[Any]) -> tuple[Any, ...]:
    rows = torch.export.Dim("rows")
    return tuple({key: {0: rows} for key in one} if isinstance(one, dict) else {0: rows} for one in inputs)


def _difference(policy: Policy, observed: Any, path: Path, form: str) -> float:
    """The largest difference between the file's answers and those of `predict`, one row after the other.

    With a memory, each row goes on with the memory that the row before left.
    """
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [one.name for one in session.get_inputs()]
    else:
        module = torch.export.load(path).module()
    largest, state = 0.0, policy.initial_state(1)
    count = len(next(iter(observed.values())) if isinstance(observed, dict) else observed)
    for row in range(count):
        inputs = _inputs(policy, observed, slice(row, row + 1))
        if state is not None:
            inputs[1] = torch.as_tensor(state)
        if form == "onnx":
            flat = [part for one in inputs for part in (one.values() if isinstance(one, dict) else [one])]
            answers = session.run(None, {name: part.numpy() for name, part in zip(names, flat, strict=True)})
        else:
            given = module(*inputs)
            answers = [one.numpy() for one in (given if isinstance(given, tuple) else (given,))]
        one = {key: part[row] for key, part in observed.items()} if isinstance(observed, dict) else observed[row]
        mask = _masks(policy, range(row, row + 1))
        action, state = policy.predict(one, state, action_masks=None if mask is None else mask[0])
        pairs = [(answers[0][0], action)] + ([] if state is None else [(answers[1], state)])
        largest = max([largest, *(float(np.max(np.abs(np.subtract(a, b, dtype=np.float64)))) for a, b in pairs)])
    return largest
