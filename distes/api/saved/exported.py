"""`distes.export`: writes a policy for programs without distes, as `distes export` does."""

import os
from pathlib import Path
from typing import Literal

from distes.api.saved import export as checked
from distes.api.saved.load import load
from distes.api.saved.policy import Policy
from distes.api.saved.run import Run
from distes.errors import ConfigurationError

Form = Literal["onnx", "torch_export"]
FORMS: dict[str, Form] = {".onnx": "onnx", ".pt2": "torch_export"}


def export(
    policy: Policy | Run | str | os.PathLike[str],
    path: str | os.PathLike[str],
    form: Form | None = None,
    *,
    which: Literal["best", "last"] = "best",
    trust: bool = False,
) -> float:
    """Writes a policy as ONNX or by torch.export, and compares what the file answers with `predict`.

    The file takes batches of observations and answers with batches of actions, with all that `predict` does.

    Args:
        policy: A policy, a run, or a run directory.
        path: The file.
        form: `onnx`, which needs the extra of that name, or `torch_export`; None tells by the ending, .onnx or .pt2.
        which: Of a run: the centre with the best evaluation, or the last one.
        trust: Of a run directory: whether the run may import and call code that is not part of distes.

    Returns:
        The largest difference between the file's actions and those of `predict` on 1,000 observations.

    Raises:
        DistesError: There is no such policy, it cannot be exported, or the answers differ. Nothing is written then.
    """
    file = Path(path)
    if form is None and file.suffix not in FORMS:
        raise ConfigurationError(
            f"The ending of {str(file)!r} must be {' or '.join(FORMS)}; or say the form: "
            f"{' or '.join(f'form={one!r}' for one in FORMS.values())}."
        )
    form = form or FORMS[file.suffix]
    if form not in FORMS.values():
        raise ConfigurationError(f"form must be {' or '.join(map(repr, FORMS.values()))}; got {form!r}.")
    if isinstance(policy, Run):
        policy = policy.load(which)
    elif not isinstance(policy, Policy):
        policy = load(policy, which, trust=trust)
    return checked.export(policy, file, form)
