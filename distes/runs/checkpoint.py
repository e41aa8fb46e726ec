"""Checkpoints of a run's whole state; damage by a crash, a full disk or a flipped bit is always detected.

A checkpoint is a folder `generation-00000012` of three files: `state.safetensors` (arrays), `state.json` (everything
else) and `manifest.json` (size and SHA-256 of the other two files, and a checksum of itself). It is written under a
temporary name, synced to the disk and then renamed, so a folder with a checkpoint's name was complete when it got the
name. Loading verifies every byte; a checkpoint that fails is named in `Checkpoints.warnings`, and the one before it is
used.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distes.errors import CheckpointError, ConfigurationError
from distes.runs import atomic_files
from distes.runs.state_encoding import decode, encode, pack, unpack

FORMAT = "distes checkpoint 1"
ARRAYS, TREE, MANIFEST = "state.safetensors", "state.json", "manifest.json"
MANIFEST_LIMIT = 4096  # bytes; manifests of this format have fewer than 500
# The suffix distinguishes a second save of one generation from the first.
NAME = re.compile(r"generation-([0-9]{8,})(?:\.([0-9]+))?")
WRITING, REMOVING = ".writing-", ".removing-"


class Checkpoints:
    """The checkpoints of one run, in one folder.

    Attributes:
        warnings: One sentence for each damaged checkpoint that the latest `load_newest` skipped.
        loaded: The folder of the checkpoint that `load_newest` last returned; None before that.
    """

    def __init__(self, directory: Path, *, keep: int = 3, keep_every: int | None = None) -> None:
        """Accesses no file yet.

        Args:
            directory: Folder of the checkpoints. The first `save` creates it if need be; its parent must exist.
            keep: Number of good checkpoints to keep; each save removes older ones.
            keep_every: Keep the checkpoints of every this many generations for good; None for none.

        Raises:
            ConfigurationError: `keep` or `keep_every` is below 1.
        """
        for name, number in (("keep_checkpoints", keep), ("keep_checkpoints_every", keep_every)):
            if number is not None and number < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {number}")
        self.directory = Path(directory)
        self.keep, self._keep_every = keep, keep_every
        self.warnings: list[str] = []
        self.loaded: Path | None = None
        self._good: set[str] = set()  # names of checkpoints that this process has written or verified
        self._swept = False

    def save(self, generation: int, state: Mapping[str, Any]) -> None:
        """Writes one checkpoint, then removes those beyond `keep`.

        Args:
            generation: Number of generations that the state has completed.
            state: The state to save; `distes.runs.state_encoding` lists the types that it may hold.

        Raises:
            CheckpointError: The checkpoint could not be written, since the disk is full, read-only or gone, or an old
                one could not be removed. Earlier checkpoints stay intact.
            TypeError: The state holds a type that cannot be saved.
        """
        tree, arrays = encode(state)
        contents = {ARRAYS: pack(arrays), TREE: tree}
        temporary = self.directory / f"{WRITING}{generation}-{os.getpid()}"
        try:
            self.directory.mkdir(exist_ok=True)  # without parents: a run directory that was removed stays removed
            self._sweep()
            temporary.mkdir()
            for name, content in contents.items():
                atomic_files.write_new(temporary / name, content)
            atomic_files.write_new(temporary / MANIFEST, _manifest(generation, contents))
            atomic_files.sync_directory(temporary)
            name = self._free_name(generation)
            temporary.rename(self.directory / name)
            atomic_files.sync_directory(self.directory)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"The checkpoint of generation {generation} could not be written into {self.directory}: "
                f"{atomic_files.reason(error)}."
            ) from error
        self._good.add(name)
        self._prune(name)

    def kept_for_good(self, generation: int) -> bool:
        """Returns whether `keep_every` keeps the checkpoint of a generation."""
        return self._keep_every is not None and generation > 0 and generation % self._keep_every == 0

    def generations(self) -> list[int]:
        """Returns the generations that have a checkpoint, the newest first; reads no checkpoint."""
        return list(dict.fromkeys(_age(name)[0] for name in self._names()))

    def load_newest(self, at_most: int | None = None) -> tuple[int, dict[str, Any]] | None:
        """Loads the newest intact checkpoint. Changes nothing on the disk.

        Each damaged checkpoint that is skipped adds a sentence to `warnings`.

        Args:
            at_most: The last generation to consider; None for all.

        Returns:
            The generation and the state, or None if there is no checkpoint.

        Raises:
            CheckpointError: There are checkpoints, and all of them are damaged; or the folder cannot be listed.
        """
        self.warnings = []
        reasons = []
        for name in self._names():
            if at_most is not None and _age(name)[0] > at_most:
                continue
            try:
                generation, state = self._load(name)
            except (OSError, ValueError) as error:
                reasons.append(f"{name}: {atomic_files.reason(error) if isinstance(error, OSError) else error}")
                self.warnings.append(f"Checkpoint {self.directory / reasons[-1]}. The one before it is used.")
                continue
            self._good.add(name)
            self.loaded = self.directory / name
            return generation, state
        if reasons:
            self.warnings = []
            raise CheckpointError(
                f"No checkpoint in {self.directory} can be read ({'; '.join(reasons)}). "
                "Restore one from a copy, or start anew with another --run_dir."
            )
        return None

    def load_all(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields generation and state of every intact checkpoint, the oldest first. Changes nothing on the disk.

        A damaged checkpoint, or one that the running process removes meanwhile, is left out.

        Raises:
            CheckpointError: The folder cannot be listed.
        """
        for name in reversed(self._names()):
            with contextlib.suppress(OSError, ValueError):
                yield self._load(name)

    def _load(self, name: str) -> tuple[int, dict[str, Any]]:
        """Verifies and reads one checkpoint.

        Raises:
            OSError: A file is missing or unreadable.
            ValueError: The checkpoint is damaged.
        """
        generation, contents = _verify(self.directory / name)
        return generation, decode(contents[TREE], unpack(contents[ARRAYS])[0])

    def _names(self) -> list[str]:
        """Returns the names of all checkpoints, newest first.

        Raises:
            CheckpointError: The folder cannot be listed.
        """
        try:
            return sorted(filter(NAME.fullmatch, os.listdir(self.directory)), key=_age, reverse=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CheckpointError(
                f"The checkpoints in {self.directory} cannot be listed: {atomic_files.reason(error)}."
            ) from error

    def _free_name(self, generation: int) -> str:
        """Returns an unused name that sorts after all saves of the generation, so that the rename replaces nothing."""
        attempts = [attempt for found, attempt in map(_age, self._names()) if found == generation]
        return f"generation-{generation:08d}" + (f".{max(attempts) + 1}" if attempts else "")

    def _prune(self, newest: str) -> None:
        """Keeps the last `keep` good checkpoints and those of `keep_every`; removes replaced and damaged ones, too."""
        kept: set[int] = set()
        for name in [newest, *(name for name in self._names() if name != newest)]:
            generation = _age(name)[0]
            wanted = len(kept) < self.keep or self.kept_for_good(generation)
            if wanted and generation not in kept and self._is_good(name):
                kept.add(generation)
            else:
                self._remove(name)

    def _is_good(self, name: str) -> bool:
        if name not in self._good:
            try:
                _verify(self.directory / name)
            except (OSError, ValueError):
                return False
            self._good.add(name)
        return True

    def _remove(self, name: str) -> None:
        """Removes a checkpoint, after a rename: a process killed here leaves no partial one under a valid name.

        Raises:
            CheckpointError: The checkpoint cannot be removed.
        """
        try:
            condemned = self.directory / f"{REMOVING}{name}"
            (self.directory / name).rename(condemned)
            _remove_tree(condemned)
        except OSError as error:
            raise CheckpointError(
                f"The old checkpoint {self.directory / name} could not be removed: {atomic_files.reason(error)}."
            ) from error

    def _sweep(self) -> None:
        """Removes what a killed process left, once before the first save. Loading alone never removes anything."""
        if not self._swept:
            for name in os.listdir(self.directory):
                if name.startswith((WRITING, REMOVING)):
                    _remove_tree(self.directory / name)
            self._swept = True


def _manifest(generation: int, contents: Mapping[str, bytes]) -> bytes:
    body = {
        "format": FORMAT,
        "generation": generation,
        "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in contents.items()},
    }
    return _canonical({"manifest": body, "sha256": _sha256(_canonical(body))})


def _verify(path: Path) -> tuple[int, dict[str, bytes]]:
    """Reads a checkpoint's files and compares every byte with its manifest.

    Raises:
        OSError: A file is missing or unreadable.
        ValueError: The checkpoint is damaged; the message says how.
    """
    raw = atomic_files.read(path / MANIFEST, MANIFEST_LIMIT)
    try:
        body = json.loads(raw)["manifest"]
        listed = {name: (body["files"][name]["bytes"], body["files"][name]["sha256"]) for name in (ARRAYS, TREE)}
        generation, version = body["generation"], body["format"]
        # Encoding what was read must give the same bytes, so that every byte of the file is checked.
        whole = raw == _canonical({"manifest": body, "sha256": _sha256(_canonical(body))})
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ValueError(f"{MANIFEST} is damaged") from None
    if not whole:
        raise ValueError(f"{MANIFEST} does not match its checksum")
    if version != FORMAT:
        raise ValueError(f"its format is {version!r}, this version of distes reads {FORMAT!r}")
    if generation != _age(path.name)[0]:
        raise ValueError(f"its manifest is that of generation {generation}")
    contents = {}
    for name, (size, sha256) in listed.items():
        if type(size) is not int or size < 0:
            raise ValueError(f"{MANIFEST} is damaged")
        contents[name] = atomic_files.read(path / name, size)
        if len(contents[name]) < size:
            raise ValueError(f"{name} has {len(contents[name])} bytes, {size} were written")
        if _sha256(contents[name]) != sha256:
            raise ValueError(f"{name} does not match its checksum")
    return generation, contents


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _age(name: str) -> tuple[int, int]:
    """Returns the generation of a checkpoint, and the number of its save within the generation, from 0."""
    match = NAME.fullmatch(name)
    assert match is not None, name
    return int(match[1]), int(match[2] or 0)


def _remove_tree(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
