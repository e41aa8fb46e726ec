"""What a user is told before a run starts: by its directory and its task, of a new device, of what no file holds."""

from distes.api.configuration import objects, yaml_text
from distes.api.configuration.resolution import Configuration
from distes.errors.messages import progress, warning
from distes.runs.directory import RunDirectory
from distes.tasks.base import Task


def notices(configuration: Configuration, task: Task, directory: RunDirectory) -> list[str]:
    """Returns what the run directory and the task have to say, a line each."""
    found: list[str] = [*map(warning, directory.warnings), *map(progress, (task.notice or "").splitlines())]
    if configuration["target_fitness"] is None and task.threshold_notice:
        found.append(task.threshold_notice)
    if given := objects.arguments_of(configuration):
        again = ", ".join(f"{name}=..." for name in given)
        found.append(
            f"config.yaml names {' and '.join(given.values())}, which no file holds: to resume this run or to load its "
            f"policy, a program must give the same again, as distes.resume(RUN_DIR, {again}) or "
            f"distes.load(RUN_DIR, {again})."
        )
    return found


def new_device(directory: RunDirectory, device: str) -> list[str]:
    """Returns a line where a resumed run goes on with another device than the one it had; otherwise none."""
    stored = yaml_text.read(directory.read_config())
    before = stored.get("device", device) if isinstance(stored, dict) else device
    if before in (device, "auto"):
        return []
    return [f"The run leaves {before} and goes on with device {device}: from here on its last bits are of that device."]
