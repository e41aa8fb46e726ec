"""What a run leaves on the disk besides its metrics: checkpoints and policies, written without stalling the workers."""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from distes.background_writer import BackgroundWriter
from distes.best import Best
from distes.checkpoint import Checkpoints
from distes.errors import CheckpointError
from distes.layout import Layout
from distes.population import Floats, Normalization
from distes.run_directory import RunDirectory
from distes.saved_policy import Which, save_policy


class Archive:
    """Saves and restores one run. A disk that is full or gone is said, and does not end the training.

    Attributes:
        saved: The generation of the newest checkpoint that this process has written; None as long as there is none.
    """

    def __init__(
        self,
        run_directory: RunDirectory,
        policy: nn.Module,
        description: Mapping[str, Any],
        *,
        say: Callable[[str], None] = print,
        checkpoint_seconds: float = 10.0,
        keep_checkpoints: int = 3,
    ) -> None:
        """Opens the archive of a run directory.

        Args:
            run_directory: Where it lies.
            policy: The module whose parameters are the centre.
            description: `policy` and `task` as `{class_path, init_args}`, `observation_shape` and `action_size`.
            say: Takes a line for the user.
            checkpoint_seconds: Least time between two checkpoints; 0 saves every generation.
            keep_checkpoints: How many of the last checkpoints stay.
        """
        self._directory, self._say, self._description = run_directory, say, dict(description)
        self._module, self._layout = copy.deepcopy(policy), Layout(policy)
        self._checkpoints = Checkpoints(run_directory.checkpoints, keep=keep_checkpoints)
        self._writer = BackgroundWriter()
        self._seconds, self._last = checkpoint_seconds, time.monotonic()
        self.saved: int | None = None

    def restore(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that is whole, or None where there is none.

        Raises:
            CheckpointError: If there are checkpoints, and all of them are damaged.
        """
        found = self._checkpoints.load_newest()
        for warning in self._checkpoints.warnings:
            self._say(warning)
        generation = 0 if found is None else found[0]
        self._directory.truncate_metrics(generation)
        return None if found is None else found[1]

    def checkpoint(self, generation: int, state: Callable[[], dict[str, Any]], *, now: bool = False) -> None:
        """Saves the state, if it is time; the file is written in the background.

        Args:
            generation: Generations done.
            state: Makes a private copy of the state.
            now: Save in any case.
        """
        if now or time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            copied = state()

            def save() -> None:
                self._checkpoints.save(generation, copied)
                self.saved = generation

            self._hand_over("checkpoint", save)

    def policy(
        self,
        which: Which,
        centre_P: Floats,
        normalization: Normalization | None,
        generation: int,
        best: Best | None,
    ) -> None:
        """Saves a centre as the best or the last policy.

        Args:
            which: `best` or `last`.
            centre_P: The centre.
            normalization: What observations were normalised with, or None.
            generation: Whose centre it is.
            best: The evaluation that makes it the best, or None.
        """
        self._layout.load(self._module, centre_P)
        state = {name: tensor.detach().clone() for name, tensor in self._module.state_dict().items()}
        meta = {
            **self._description,
            "generation": generation,
            "eval_mean": None if best is None else best.mean,
            "eval_episodes": None if best is None else best.episodes,
            "outdone": None if best is None else best.outdone,
        }
        self._hand_over(which, lambda: save_policy(self._directory.policy, which, state, normalization, meta))

    def close(self) -> None:
        """Waits until everything is written; says what could not be."""
        try:
            self._writer.close()
        except CheckpointError as error:
            self._say(str(error))

    def _hand_over(self, name: str, write: Callable[[], None]) -> None:
        try:
            self._writer.hand_over(name, write)
        except CheckpointError as error:
            self._say(f"{error} Training goes on.")
