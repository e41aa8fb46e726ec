"""Groups runs that differ in nothing but their seed, and names each group by what sets it apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distes.errors import ConfigurationError, did_you_mean
from distes.runs.history import PARTS, History

# The sections that determine what is learnt and how. Other keys say where, how long and how often evaluated.
SECTIONS = (*PARTS, "noise", "non_finite")


@dataclass(frozen=True)
class Group:
    """Runs that count as repetitions of one experiment.

    Attributes:
        label: What sets the group apart, as `sigma=0.1`; the task's name if there is no other group.
        values: The values that set it apart, by full key.
        runs: The runs, in the order given.
    """

    label: str
    values: Mapping[str, Any]
    runs: list[History]

    @property
    def finished(self) -> list[History]:
        """Those runs that have reached a limit or their target."""
        return [run for run in self.runs if run.finished]


def group_runs(runs: Sequence[History], by: str | Sequence[str] | None = None) -> list[Group]:
    """Groups runs by the values of some keys, and sorts the groups by those values.

    Args:
        runs: At least one.
        by: A key, such as `strategy.sigma`, or several. None takes all keys of task, policy, strategy, perturbation and
            noise whose values differ: runs of one group then differ in their seed and in the machines they ran on.

    Raises:
        ConfigurationError: No run has a key of that name.
    """
    keys = _differing(runs) if by is None else [by] if isinstance(by, str) else list(by)
    for key in keys if by is not None else ():
        if all(run.setting(key) is None and key not in run.settings for run in runs):
            known = list(dict.fromkeys(name for run in runs for name in run.settings))
            namesakes = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
            hint = f" Did you mean {namesakes[0]!r}?" if namesakes else did_you_mean(key, known)
            raise ConfigurationError(f"by: none of the runs has the key {key!r}.{hint}")
    grouped: dict[str, tuple[dict[str, Any], list[History]]] = {}
    for run in runs:
        values = {key: run.setting(key) for key in keys}
        grouped.setdefault(repr(values), (values, []))[1].append(run)
    names = short_names(keys)
    groups = [Group(_label(values, names, of), values, of) for values, of in grouped.values()]
    return sorted(groups, key=lambda group: [_order(value) for value in group.values.values()])


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """The last word of each key, by key; the whole key where two have the same last word."""
    keys = list(keys)
    last = {key: key.rpartition(".")[2] for key in keys}
    return {key: name if list(last.values()).count(name) == 1 else key for key, name in last.items()}


def text_of(value: Any) -> str:
    """A value as it stands in a label: a class without its module, numbers without needless digits."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={text_of(one)}" for key, one in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    return str(value)


def task_name(run: History) -> str:
    """The name of a run's task: its environment, its function, or its class."""
    return str(run.setting("task.env") or run.setting("task.name") or run.setting("task") or run.path.name)


def _differing(runs: Sequence[History]) -> list[str]:
    """The keys with more than one value, classes first. A key that a run lacks says nothing of that run."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key.partition(".")[0] in SECTIONS:
                values.setdefault(key, set()).add(repr(value))
    differing = [key for key, found in values.items() if len(found) > 1]
    return sorted(differing, key=lambda key: key not in PARTS)


def _label(values: Mapping[str, Any], names: Mapping[str, str], runs: Sequence[History]) -> str:
    parts = [
        text_of(value) if key in PARTS or key in ("task.env", "task.name") else f"{names[key]}={text_of(value)}"
        for key, value in values.items()
        if value is not None or any(key in run.settings for run in runs)
    ]
    return " ".join(parts) or task_name(runs[0])


def _order(value: Any) -> tuple[bool, float, str]:
    """Sorts numbers by size, and other values by their text after them."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, text_of(value))
