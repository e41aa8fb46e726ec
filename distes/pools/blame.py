"""Messages for chunks that end workers, and for workers that send no results."""

from distes.errors.resuming import in_one_process
from distes.pools.chunks import Chunk


def named(part: Chunk, first_pair: int) -> str:
    """Returns which pairs, members or episodes a chunk has, by their numbers in the whole generation.

    Args:
        part: A chunk of a round, or a part of one.
        first_pair: Number of the round's first pair.
    """
    kinds = ("episode of the centre", "episodes of the centre") if part.of_centre else ("pair", "pairs")
    if not part.of_centre and part.each == 1:
        kinds = ("member", "members")
    first = part.start + (0 if part.of_centre else first_pair)
    last = first + part.stop - part.start - 1
    return f"{kinds[0]} {first}" if first == last else f"{kinds[1]} {first} to {last}"


def verdict(part: Chunk, losses: int, generation: int, first_pair: int, cause: str) -> str:
    """Returns the message that blames a chunk, or a part of one, for the death of workers.

    Args:
        part: The chunk.
        losses: Workers that died over it in a row.
        generation: Number of the generation from 1.
        first_pair: Number of the round's first pair.
        cause: Cause of the last death.
    """
    sentence = (
        f"{losses} workers in a row died or hung over {named(part, first_pair)} of generation {generation}, while "
        f"workers did other work well. The last one: {cause}."
    )
    if part.stop - part.start > 1:
        return (
            f"{sentence} Fewer of them together cost no worker, so they may need more memory than there is: a new run "
            f"with --chunk_size {max(2, part.evaluations // 2)} evaluates fewer together. To see why: "
            f"{in_one_process()}"
        )
    if part.of_centre:
        return f"{sentence} To evaluate the centre alone: {in_one_process(str(generation))}"
    pair = part.start + first_pair
    members = [f"{generation},{pair},{sign}" for sign in "+-"[: part.each]]
    return f"{sentence} To evaluate it alone: {in_one_process(*members)}"


def interrupted(part: Chunk, generation: int, first_pair: int) -> str:
    """Returns the message for a KeyboardInterrupt that a worker raised; Ctrl-C never reaches workers.

    Args:
        part: The chunk that it was evaluating.
        generation: Number of the generation from 1.
        first_pair: Number of the round's first pair.
    """
    return (
        f"Something in the task raised KeyboardInterrupt in a worker, over {named(part, first_pair)} of generation "
        f"{generation}. To see where: {in_one_process()}"
    )


def nothing_comes_back(deaths: int, seconds: float, cause: str) -> str:
    """Returns the message for workers that die before they send any result.

    Args:
        deaths: Number of deaths.
        seconds: Seconds since the last result.
        cause: Cause of the last death.
    """
    return (
        f"{deaths} workers died or hung in {seconds:.0f} seconds, and none of them evaluated anything. The last one: "
        f"{cause}. The state is saved. To see whether the task itself ends its process: {in_one_process()}"
    )
