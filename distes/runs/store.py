"""Saves the checkpoints and policies of a run in a background thread, and restores checkpoints."""

import copy
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from distes.errors import CheckpointError, RunDirectoryError
from distes.errors.messages import warning
from distes.policies.layout import Layout
from distes.policies.parametrized import ParametrizedPolicy
from distes.population import Floats, Normalization
from distes.runs import atomic_files
from distes.runs.background_writer import BackgroundWriter
from distes.runs.best import Best
from distes.runs.checkpoint import Checkpoints
from distes.runs.directory import RunDirectory
from distes.runs.policy_files import Which, save_policy
from distes.runs.population_record import PopulationRecord, Recorded
from distes.runs.state_encoding import encode


class RunStore:
    """Saves and restores one run. A full or missing disk is reported and does not end the training.

    Attributes:
        saved: The generation of the newest checkpoint that this process has written; None before the first.
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
        keep_checkpoints_every: int | None = None,
        record_population: bool = False,
        record_population_max_bytes: int = 500_000_000,
        experiment: Mapping[str, str] | None = None,
    ) -> None:
        """Opens the store of a run directory.

        Args:
            run_directory: The run directory, open for writing.
            policy: The module whose parameters are the centre; copied.
            description: `policy` and `task` as `{class_path, init_args}`, `observation_shape` and `action_size`.
            say: Shows a warning to the user.
            checkpoint_seconds: Minimum time between two checkpoints in seconds; 0 saves every generation.
            keep_checkpoints: Number of checkpoints to keep; older ones are removed.
            keep_checkpoints_every: Also keep the checkpoint of every this many generations, for good; null for none.
            record_population: Whether to record what each generation's strategy is told (fitness, steps and behaviour
                of each member), so that any member can be made again and played.
            record_population_max_bytes: Size that this record may reach; later generations are not recorded.
            experiment: The settings that determine the run's results, as text by key. Each checkpoint holds them;
                `restore` refuses a checkpoint that holds other ones. None disables the comparison.

        Raises:
            ConfigurationError: `keep_checkpoints` or `keep_checkpoints_every` is below 1.
        """
        self._directory, self._description = run_directory, dict(description)
        if isinstance(policy, ParametrizedPolicy) and "policy" in self._description:
            self._description |= {"parametrization": self._description["policy"], "policy": policy.description}
        self._say: Callable[[str], None] = lambda line: say(warning(line))
        self._experiment = None if experiment is None else dict(experiment)
        self._module, self._layout = copy.deepcopy(policy), Layout(policy)
        self._checkpoints = Checkpoints(
            run_directory.checkpoints, keep=keep_checkpoints, keep_every=keep_checkpoints_every
        )
        self._record = PopulationRecord(run_directory.population, max_bytes=record_population_max_bytes)
        self._records = record_population
        self._not_recorded = False  # whether a generation is missing from the record, and this has been said
        self._writer = BackgroundWriter()
        self._seconds, self._last = checkpoint_seconds, time.monotonic()
        self.saved: int | None = None

    def restore(self, at_most: int | None = None) -> dict[str, Any] | None:
        """Returns the state of the newest intact checkpoint, or None if the run has not begun. Changes no file.

        Args:
            at_most: The last generation to consider, for which None is returned if there is no such checkpoint; None
                for all.

        Raises:
            CheckpointError: All checkpoints are damaged or missing, or the newest belongs to another experiment.
        """
        found = self._checkpoints.load_newest(at_most)
        for text in self._checkpoints.warnings:
            self._say(text)
        if found is None:
            if at_most is None and (done := self._directory.results()):
                raise CheckpointError(
                    f"There is no checkpoint in {self._directory.checkpoints}, though the run has left {done}: what it "
                    "had learnt is lost. Restore a checkpoint from a copy, or start anew with another --run_dir."
                )
            return None
        state = dict(found[1])
        stored = state.pop("experiment", None)
        if self._experiment is not None:
            self._compare(stored)
        return state

    @property
    def restored_from(self) -> str:
        """The folder of the checkpoint whose state `restore` returned."""
        return str(self._checkpoints.loaded)

    def checkpoint(
        self, generation: int, state: Callable[[], dict[str, Any]], *, now: bool = False, wait: bool = False
    ) -> None:
        """Saves the state in the background, if `checkpoint_seconds` have passed since the last save.

        Args:
            generation: Number of completed generations.
            state: Returns a private copy of the state; called only if the state is saved.
            now: Save whatever the time since the last save.
            wait: Write in this thread and return when the file is on the disk. Allowed only before the first save in
                the background.

        Raises:
            CheckpointError: The state holds a type that cannot be saved.
        """
        for_good = self._checkpoints.kept_for_good(generation)
        if now or for_good or time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            copied = state()
            if self._experiment is not None:
                copied["experiment"] = self._experiment
            try:
                encode(copied)
            except TypeError as error:
                raise CheckpointError(f"The run cannot be saved: {error}.") from error

            def save() -> None:
                self._checkpoints.save(generation, copied)
                self.saved = max(generation, self.saved or 0)

            if wait:
                try:
                    save()
                except CheckpointError as error:
                    self._say(f"{error} Training goes on.")
            else:
                # a later job of the same name would replace one that waits
                self._hand_over(f"checkpoint {generation}" if for_good else "checkpoint", save)

    @property
    def records_population(self) -> bool:
        """Whether `population` keeps what it is given."""
        return self._records

    def population(self, recorded: Recorded) -> None:
        """Appends a generation to the record of populations, if there is one. A failure is reported once."""
        if not self._records:
            return
        try:
            why = "" if self._record.append(recorded) else "it has reached record_population_max_bytes"
        except OSError as error:
            why = atomic_files.reason(error)
        if why and not self._not_recorded:
            self._say(
                f"Generation {recorded.generation} is not recorded in {self._directory.population}: {why}. Training "
                "goes on; members of the generations that are missing cannot be replayed."
            )
        self._not_recorded = bool(why)

    def truncate_population(self, generation: int) -> None:
        """Drops what the record of populations holds after a generation, before a resumed run repeats it.

        Raises:
            RunDirectoryError: The file cannot be read or written.
        """
        try:
            self._record.truncate(generation)
        except OSError as error:
            raise RunDirectoryError(
                f"{self._directory.population} cannot be shortened: {atomic_files.reason(error)}."
            ) from error

    def policy(
        self,
        which: Which,
        centre_P: Floats,
        normalization: Normalization | None,
        generation: int,
        best: Best | None,
    ) -> None:
        """Saves a centre as the best or the last policy, in the background.

        Args:
            which: "best" or "last".
            centre_P: The parameters of the policy, (P,), float32.
            normalization: Mean and standard deviation that observations were normalised with, or None.
            generation: Number of generations after which the centre had these parameters.
            best: The evaluation that made this centre the best, or that of the last centre; None for none.
        """
        self._layout.load(self._module, centre_P)
        module = self._module.plain() if isinstance(self._module, ParametrizedPolicy) else self._module
        state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        meta = {
            **self._description,
            "generation": generation,
            "eval_mean": None if best is None else best.mean,
            "eval_episodes": None if best is None else best.episodes,
            "eval_std_error": None if best is None else best.std_error,
            "outdone": None if best is None else best.outdone,
        }
        self._hand_over(which, lambda: save_policy(self._directory.policy, which, state, normalization, meta))

    def close(self) -> None:
        """Waits until everything is written, and reports to the user what could not be written."""
        try:
            self._writer.close()
        except CheckpointError as error:
            self._say(str(error))

    def _compare(self, stored: Any) -> None:
        """Refuses the checkpoint of another experiment. Keys that the checkpoint lacks or adds are ignored.

        So a checkpoint of another version of distes, which may have other keys, can be resumed.

        Args:
            stored: The experiment in the checkpoint, text by key; None in checkpoints of early versions.

        Raises:
            CheckpointError: The checkpoint belongs to another experiment.
        """
        assert self._experiment is not None
        if not isinstance(stored, dict):
            self._say(
                f"{self.restored_from} was written by an earlier version of distes and does not say of which "
                f"experiment it is: {self._directory.config} is believed."
            )
            return
        changed = [key for key, text in self._experiment.items() if stored.get(key, text) != text]
        if changed:
            each = ", ".join(f"{key} {stored[key]} (now {self._experiment[key]})" for key in changed)
            raise CheckpointError(
                f"{self.restored_from} was made with {each}. A resumed run keeps its experiment: change "
                f"{self._directory.config} or what has changed around it back, or start a new run with another "
                f"--run_dir and --config {self._directory.config}."
            )

    def _hand_over(self, name: str, write: Callable[[], None]) -> None:
        try:
            self._writer.hand_over(name, write)
        except CheckpointError as error:
            self._say(f"{error} Training goes on.")
