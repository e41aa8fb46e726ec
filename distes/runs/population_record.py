"""The record of populations: what the strategy was told in each generation, in one file that only grows.

    population.bin    a frame per generation: 20 bytes (`HEADER`), then a safetensors file

From the record and a checkpoint before it, any later generation is made again without a simulation: the strategy is
told what it was told. A frame names its generation and length and carries a checksum, so a frame that a killed process
left incomplete is recognised and ignored. Reading runs no code, whatever the bytes are.

Axes: N pairs, S the signs, E episodes of the centre, D numbers of a behaviour, O observation.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from distes.errors import CheckpointError
from distes.population import Evaluation, Population
from distes.runs import atomic_files
from distes.runs.state_encoding import Arrays, pack, unpack

MAGIC = b"DPOP"
HEADER = struct.Struct("<4sQII")  # MAGIC, generation, bytes of the safetensors file, its CRC-32
# dtype kinds and number of axes of the arrays that a frame may hold; those in NEEDED are always there.
FORMS = {
    "fitness": ("f", 2),
    "steps": ("iu", 2),
    "ids": ("iu", 1),
    "parents": ("iu", 1),
    "behaviour": ("f", 3),
    "last": ("b", 2),
    "eval_fitness": ("f", 1),
    "eval_steps": ("iu", 1),
    "eval_behaviour": ("f", 2),
    "observations/mean": ("f", 1),
    "observations/m2": ("f", 1),
    "rewards/mean": ("f", 1),
    "rewards/m2": ("f", 1),
}
NEEDED = ("fitness", "steps", "ids", "eval_fitness", "eval_steps")


@dataclass(frozen=True, eq=False)
class Recorded:
    """One generation of a run.

    Attributes:
        generation: Number of the generation, from 1, as `metrics.jsonl` counts.
        evaluation: What the strategy was told.
        ids_N: Numbers of the pairs' directions, int64; with genomes, the last number of each member's genome.
        parents_N: With genomes, the index of each member's parent among the population's genomes, -1 for none.
        observations: Moments of all observations after the generation, as `RunningStat.state_dict` returns them; None
            where observations are not normalised.
        rewards: Moments of all discounted returns, in the same form; None where rewards are not normalised.
    """

    generation: int
    evaluation: Evaluation
    ids_N: NDArray[np.int64]
    parents_N: NDArray[np.int64] | None = None
    observations: dict[str, Any] | None = None
    rewards: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        generation: int,
        rounds: Sequence[Population],
        evaluation: Evaluation,
        observations: dict[str, Any] | None,
        rewards: dict[str, Any] | None = None,
    ) -> Self:
        """Makes the record of a generation.

        Args:
            generation: Its number, from 1.
            rounds: Its populations, one after the other.
            evaluation: What the strategy was told.
            observations: As the attribute.
            rewards: As the attribute.
        """
        ids_N = np.concatenate([one.ids_N for one in rounds]).astype(np.int64)
        parents = [one.genome_N for one in rounds if one.genome_N is not None]
        return cls(
            generation,
            evaluation,
            ids_N,
            np.concatenate(parents).astype(np.int64) if parents else None,
            observations,
            rewards,
        )

    def encode(self) -> bytes:
        """Returns the frame. Whole numbers take four bytes where they fit."""
        told = self.evaluation
        arrays: dict[str, NDArray[Any] | None] = {
            "fitness": told.fitness_N2,
            "steps": _narrow(told.steps_N2),
            "ids": _narrow(self.ids_N),
            "parents": None if self.parents_N is None else _narrow(self.parents_N),
            "behaviour": told.behaviour_N2D,
            "last": told.last_N2,
            "eval_fitness": told.eval_fitness_E,
            "eval_steps": _narrow(told.eval_steps_E),
            "eval_behaviour": told.eval_behaviour_ED,
        }
        numbers = {"episodes": told.episodes, **({"capped": told.capped} if told.capped else {})}
        if self.observations is not None:
            arrays |= {f"observations/{key}": self.observations[f"{key}_O"] for key in ("mean", "m2")}
            numbers["observed"] = self.observations["count"]
        if self.rewards is not None:
            arrays |= {f"rewards/{key}": self.rewards[f"{key}_O"] for key in ("mean", "m2")}
            numbers["rewarded"] = self.rewards["count"]
        held: Arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}
        body = pack(held, {name: str(value) for name, value in numbers.items()})
        return HEADER.pack(MAGIC, self.generation, len(body), zlib.crc32(body)) + body

    @classmethod
    def decode(cls, generation: int, body: bytes) -> Self:
        """Reads a frame's safetensors file.

        Raises:
            ValueError: It is not what `encode` writes.
        """
        arrays, numbers = unpack(body)
        _check(arrays)
        observations = _moments(arrays, numbers, "observations", "observed")
        rewards = _moments(arrays, numbers, "rewards", "rewarded")
        evaluation = Evaluation(
            fitness_N2=arrays["fitness"],
            steps_N2=arrays["steps"].astype(np.int64),
            episodes=_count(numbers, "episodes"),
            eval_fitness_E=arrays["eval_fitness"],
            eval_steps_E=arrays["eval_steps"].astype(np.int64),
            behaviour_N2D=arrays.get("behaviour"),
            eval_behaviour_ED=arrays.get("eval_behaviour"),
            last_N2=arrays.get("last"),
            capped=_count(numbers, "capped") if "capped" in numbers else 0,
        )
        parents_N = arrays["parents"].astype(np.int64) if "parents" in arrays else None
        return cls(generation, evaluation, arrays["ids"].astype(np.int64), parents_N, observations, rewards)


class PopulationRecord:
    """The file of a run's record. The constructor accesses no file."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Names the file.

        Args:
            path: The file, usually `population.bin` of a run directory.
            max_bytes: The size that it may reach; generations that would exceed it are not recorded.
        """
        self._path, self._max_bytes = path, max_bytes

    def append(self, recorded: Recorded) -> bool:
        """Appends a generation, and returns whether it still fits. On failure, an incomplete frame is removed.

        Raises:
            OSError: The file cannot be written.
        """
        frame = recorded.encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size + len(frame) > self._max_bytes:
                return False
            atomic_files.append(descriptor, frame)
        finally:
            os.close(descriptor)
        return True

    def truncate(self, generation: int) -> None:
        """Drops what lies after a generation, and an incomplete frame that a crash left.

        Raises:
            OSError: The file cannot be read or written.
        """
        if not self._path.exists():
            return
        kept = [place for number, place in read_index(self._path).items() if number <= generation]
        end = max((offset + length for offset, length in kept), default=0)
        if end < self._path.stat().st_size:
            with open(self._path, "r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())


def read_index(path: Path) -> dict[int, tuple[int, int]]:
    """Returns offset and length of each generation's frame, header included, up to the first incomplete frame.

    Raises:
        OSError: The file cannot be read.
    """
    index: dict[int, tuple[int, int]] = {}
    with open(path, "rb") as file:
        size, offset = os.fstat(file.fileno()).st_size, 0
        while offset + HEADER.size <= size:
            file.seek(offset)
            magic, generation, length, _ = HEADER.unpack(file.read(HEADER.size))
            length += HEADER.size
            if magic != MAGIC or offset + length > size:
                break
            index[generation] = offset, length
            offset += length
    return index


def read_recorded(path: Path, generation: int, place: tuple[int, int]) -> Recorded:
    """Reads one generation.

    Args:
        path: The file.
        generation: The generation's number.
        place: Its offset and length, from `read_index`.

    Raises:
        CheckpointError: The frame is damaged, or the file cannot be read.
    """
    offset, length = place
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            header, body = file.read(HEADER.size), file.read(length - HEADER.size)
        if HEADER.unpack(header) != (MAGIC, generation, len(body), zlib.crc32(body)):
            raise ValueError("its checksum does not match")
        return Recorded.decode(generation, body)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {atomic_files.reason(error)}.") from error
    except (ValueError, struct.error) as error:
        raise CheckpointError(f"The record of generation {generation} in {path} is damaged: {error}.") from error


def _narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    most = max(int(numbers.max(initial=0)), -int(numbers.min(initial=0)))
    return numbers.astype(np.int32 if most <= np.iinfo(np.int32).max else np.int64)


def _check(arrays: Arrays) -> None:
    """Checks that a frame's arrays are those of one generation.

    Raises:
        ValueError: One is missing, is not known, or has another form than the others demand.
    """
    for name, array in arrays.items():
        kinds, axes = FORMS.get(name, ("", -1))
        if array.dtype.kind not in kinds or array.ndim != axes:
            raise ValueError(f"the array {name!r} has no place in it")
    if missing := [name for name in NEEDED if name not in arrays]:
        raise ValueError(f"the array {missing[0]!r} is missing")
    for of in ("observations", "rewards"):
        if (f"{of}/mean" in arrays) != (f"{of}/m2" in arrays):
            raise ValueError(f"the moments of {of} are incomplete")
    shape, episodes = arrays["fitness"].shape, arrays["eval_fitness"].shape
    wanted = {"steps": shape, "last": shape, "behaviour": shape, "ids": shape[:1], "parents": shape[:1]}
    wanted |= {"eval_steps": episodes, "eval_behaviour": episodes}
    for name, start in wanted.items():
        if name in arrays and arrays[name].shape[: len(start)] != start:
            raise ValueError(f"the array {name!r} has the shape {arrays[name].shape}")


def _moments(arrays: Arrays, numbers: dict[str, str], of: str, counted: str) -> dict[str, Any] | None:
    """Moments as `RunningStat.state_dict` returns them; None if there are none."""
    if f"{of}/mean" not in arrays:
        return None
    return {"count": _count(numbers, counted), "mean_O": arrays[f"{of}/mean"], "m2_O": arrays[f"{of}/m2"]}


def _count(numbers: dict[str, str], name: str) -> int:
    if not (text := numbers.get(name, "")).isdecimal():
        raise ValueError(f"the number {name!r} is missing")
    return int(text)
