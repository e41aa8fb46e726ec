"""Messages about a chunk or a member that could not be evaluated, with the command that replays it."""

import numpy as np

from distes.errors import raised
from distes.errors.resuming import in_one_process
from distes.pools.chunks import Chunk
from distes.pools.device import WorkerPlace
from distes.population import Population
from distes.tasks.base import MemberError


def chunk_named(population: Population, chunk: Chunk) -> str:
    """The beginning of a message: the chunk's pairs or episodes, and the generation from 1."""
    first = chunk.start if chunk.of_centre else population.first_pair + chunk.start
    what = "The centre's episodes" if chunk.of_centre else "Pairs"
    return f"{what} {first} to {first + chunk.stop - chunk.start - 1} of generation {population.generation + 1}"


def process_ended(population: Population, chunk: Chunk, error: BaseException) -> str:
    """The message for an exception that asks for the end of the process, such as SystemExit."""
    return (
        f"{chunk_named(population, chunk)} could not be evaluated: the environment, the policy or what they call "
        f"{raised(error)}. It may raise errors, but must not end the process. To see it in one process: "
        f"{in_one_process()}"
    )


def member_failed(population: Population, chunk: Chunk, error: MemberError) -> str:
    """The message for one member: its pair and sign or its episode, the reason, and how to replay it alone."""
    generation = population.generation + 1  # messages count from 1
    if chunk.of_centre:
        who, where = f"The centre's episode {chunk.start + error.member}", str(generation)
    else:
        pair, sign = _pair_and_sign(population, chunk, error.member)
        who, where = f"Pair {pair}, sign {sign},", f"{generation},{pair},{sign}"
    seed = "" if error.episode_seed is None else f" (episode seed {error.episode_seed})"
    reason = error.reason
    if error.other is not None:
        pair, sign = _pair_and_sign(population, chunk, error.other)
        other = f"the centre's episode {chunk.start + error.other}" if chunk.of_centre else f"pair {pair}, sign {sign},"
        reason = reason.replace("OTHER", other)
    finite = not error.reason.endswith(("is not finite", "is not a finite number"))
    goes_on = "" if finite else "With --non_finite worst such a member is ranked last, and the run goes on. "
    return (
        f"{who} of generation {generation} could not be evaluated: {reason}{seed}. {goes_on}"
        f"To replay it alone: {in_one_process(where)}"
    )


def gpu_failed(chunk: Chunk, place: WorkerPlace, reason: str) -> str:
    """The message for a GPU that has failed; which member is to blame is unknown."""
    what = "episodes of the centre" if chunk.of_centre else "members"
    return (
        f"The GPU of the worker on {place.node} ({place}, process {place.pid}) failed while {chunk.evaluations:,} "
        f"{what} were evaluated together: {reason}. Such an error shows late, at whatever is called next: with "
        "CUDA_LAUNCH_BLOCKING=1 in the environment it shows where it happens. A device-side assert or an illegal "
        "memory access comes from an index that is out of range in the policy or the environment; if it does not come "
        "again, suspect the GPU (nvidia-smi, dmesg)."
    )


def does_not_fit(chunk: Chunk, place: WorkerPlace, fit: int, *, on_gpu: bool) -> str:
    """The message for a chunk that does not fit into memory.

    Args:
        chunk: The chunk.
        place: Where the worker is.
        fit: How many members would fit.
        on_gpu: Whether the memory is a GPU's.
    """
    where = "on the GPU" if on_gpu else "into the memory"
    what = "episodes of the centre" if chunk.of_centre else "members of the chunk"
    start = (
        f"{chunk.evaluations:,} {what} do not fit {where} of the worker on {place.node} ({place}, process {place.pid})"
    )
    if fit >= 2:
        return f"{start}: about {fit:,} members per chunk would; set --chunk_size {fit}."
    return (
        f"{start}, nor would a single pair: use a smaller policy, a perturbation of low rank, fewer --workers per "
        "machine, or another --device."
    )


def _pair_and_sign(population: Population, chunk: Chunk, member: int) -> tuple[int, str]:
    """The pair's number in its generation, and the sign with which `--replay` evaluates the member."""
    turned = bool(np.any(np.asarray(population.sigma) < 0))  # the member of sign - is then replayed as +
    sign = "+-"[(member % len(population.signs) + turned) % 2]
    return population.first_pair + chunk.start + member // len(population.signs), sign
