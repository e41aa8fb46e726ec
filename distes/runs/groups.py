"""Groups runs that differ in nothing but their seed, and names each group by what sets it apart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distes.errors import ConfigurationError, did_you_mean
from distes.runs.history import PARTS, History

# The sections that determine what is learnt and how. Other keys say where, how long and how often evaluated.
SECTIONS = (*PARTS, "noise", "non_finite")
NAMES = (*PARTS, "task.env", "task.name")  # whose values need no key beside them in a label


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
        by: A key, such as `strategy.sigma`, or its last word where only one key has it; or several. None takes all
            keys of task, policy, strategy, perturbation and noise whose values differ: runs of one group then differ
            in their seed and in the machines they ran on.

    Raises:
        ConfigurationError: No run has a key of that name.
    """
    if by is None:
        keys = _differing(runs)
    else:
        keys = [_key(name, runs) for name in ([by] if isinstance(by, str) else by)]
    grouped: dict[str, tuple[dict[str, Any], list[History]]] = {}
    for run in runs:
        values = {key: run.setting(key) for key in keys}
        grouped.setdefault(repr(values), (values, []))[1].append(run)
    sets = [values for values, _ in grouped.values()]
    groups = [Group(_label(values, sets, of, all_keys=by is not None), values, of) for values, of in grouped.values()]
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


def task_and_strategy(run: History) -> str:
    """The names of a run's task and strategy, for a title."""
    return f"{task_name(run)}, {run.setting('strategy')}"


def score_name(run: History) -> str:
    """What fitness is called: `return` where it is that of episodes."""
    return "return" if run.setting("task") == "Gym" else "fitness"


def _key(name: str, runs: Sequence[History]) -> str:
    """The full key of a name.

    Raises:
        ConfigurationError: No run has such a key, or the name is the last word of several.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.settings))
    if name in known or any(run.setting(name) is not None for run in runs):
        return name
    namesakes = [key for key in known if key.rpartition(".")[2] == name]
    if len(namesakes) == 1:
        return namesakes[0]
    if namesakes:
        raise ConfigurationError(f"by: {name!r} may be {' or '.join(map(repr, namesakes))}: give the whole key.")
    near = did_you_mean(name, known) or did_you_mean(name, [key.rpartition(".")[2] for key in known])
    raise ConfigurationError(f"by: none of the runs has the key {name!r}.{near}")


def _differing(runs: Sequence[History]) -> list[str]:
    """The keys with more than one value, classes first. A key that a run lacks says nothing of that run."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            if key.partition(".")[0] in SECTIONS:
                values.setdefault(key, set()).add(repr(value))
    differing = [key for key, found in values.items() if len(found) > 1]
    return sorted(differing, key=lambda key: key not in NAMES)


def _label(
    values: Mapping[str, Any], sets: Sequence[Mapping[str, Any]], runs: Sequence[History], *, all_keys: bool
) -> str:
    """What sets a group apart: its task and classes, and what differs between groups that have these in common.

    Args:
        values: The group's values by key.
        sets: Those of all groups.
        runs: The group's runs.
        all_keys: Whether to name all keys, which the user has chosen.
    """
    named = [key for key in values if key in NAMES]
    alike = [other for other in sets if all(other[key] == values[key] for key in named)]
    names = short_names(values)
    parts = []
    for key, value in values.items():
        if value is None and not any(key in run.settings for run in runs):
            continue
        if key in NAMES:
            parts.append(text_of(value))
        elif all_keys or any(other[key] != value for other in alike):
            parts.append(f"{names[key]}={text_of(value)}")
    return " ".join(parts) or task_name(runs[0])


def _order(value: Any) -> tuple[bool, float, str]:
    """Sorts numbers by size, and other values by their text after them."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not number, float(value) if number else 0.0, text_of(value))
