"""A run that is ready to be trained, and the commands that go on with it."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from distes.api.building.screens import Screen
from distes.api.configuration import objects
from distes.api.configuration.resolution import Configuration
from distes.api.saved.result import playing
from distes.errors import installation
from distes.pools.base import Pool
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Monitor
from distes.runs.store import RunStore
from distes.training.trainer import Trainer


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready: nothing is wrong with its configuration, and its workers are there.

    Attributes:
        configuration: The resolved configuration, with the device that the pool uses.
        path: The run directory, as the user named it.
        directory: The run directory, open.
        resumed: Whether the directory held a run before.
        console: The terminal.
        archive: Saves checkpoints and policies.
        pool: Evaluates populations.
        trainer: At the newest checkpoint, if there is one.
        monitors: The trainer's; empty until training begins, since they write files.
        begun: To be called once there is something to keep. Before, an error leaves no run behind.
        trusting: The flag that commands need if the run names code that is not part of distes.
    """

    configuration: Configuration
    path: str
    directory: RunDirectory
    resumed: bool
    console: Screen
    archive: RunStore
    pool: Pool
    trainer: Trainer
    monitors: list[Monitor]
    begun: Callable[[], object]
    trusting: str

    @property
    def resume(self) -> str:
        """The command that resumes the run."""
        return self.again("")

    def again(self, flags: str) -> str:
        """Returns the command that resumes the run with further flags. The address of a cluster must be given again.

        Where the run was given objects, it is a call of Python, since no command can give them. That cannot replay
        one member, but ends at the same member again.

        Args:
            flags: Empty, or ` --workers 0` and what to replay.
        """
        if given := objects.arguments_of(self.configuration):
            here = ", workers=0" if flags else ""
            return f"distes.resume({self.path!r}, {', '.join(f'{name}=...' for name in given)}{here}) in Python"
        command = f"{installation.command('resume')} {shlex.quote(self.path)}{self.trusting}{flags}"
        address = self.configuration["address"]
        return command if flags or address in (None, "auto") else f"{command} --address {shlex.quote(address)}"

    @property
    def play(self) -> str:
        """The command that plays the policy; a call of Python where the run was given objects."""
        return playing(self.path, self.configuration, self.trusting, playable=self.trainer.task.playable)
