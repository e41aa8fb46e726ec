"""Messages about a chunk or a member that could not be evaluated, with the command that replays it."""

import numpy as np

from distes.errors import raised
from distes.errors.resuming import in_one_process
from distes.pools.chunks import Chunk
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


def _pair_and_sign(population: Population, chunk: Chunk, member: int) -> tuple[int, str]:
    """The pair's number in its generation, and the sign with which `--replay` evaluates the member."""
    turned = bool(np.any(np.asarray(population.sigma) < 0))  # the member of sign - is then replayed as +
    sign = "+-"[(member % len(population.signs) + turned) % 2]
    return population.first_pair + chunk.start + member // len(population.signs), sign
