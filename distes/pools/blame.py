"""The sentences for work that costs workers, and for workers that nothing comes back from."""

from distes.pools.chunks import Chunk


def named(part: Chunk, first_pair: int) -> str:
    """Which pairs, members or episodes these are, by their numbers in the whole generation.

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
    """That a part of a generation is to blame.

    Args:
        part: Which.
        losses: Workers that died over it in a row.
        generation: Its number, as people count.
        first_pair: As above.
        cause: Of the last death.
    """
    sentence = (
        f"{losses} workers in a row died or hung over {named(part, first_pair)} of generation {generation}, while "
        f"workers did other work well. The last one: {cause}."
    )
    command = "python scripts/launch.py --resume RUN_DIR --workers 0"
    if part.stop - part.start > 1:
        return (
            f"{sentence} Fewer of them together cost no worker, so they may need more memory than there is: a new run "
            f"with --chunk_size {max(2, part.evaluations // 2)} evaluates fewer together. To see why: {command}"
        )
    if part.of_centre:
        return f"{sentence} To evaluate the centre alone: {command} --replay {generation}"
    pair = part.start + first_pair
    signs = [f"--replay {generation},{pair},{sign}" for sign in "+-"[: part.each]]
    return f"{sentence} To evaluate it alone: {command} {' or '.join(signs)}"


def nothing_comes_back(deaths: int, seconds: float, cause: str) -> str:
    """That workers die so fast that none evaluates anything, whatever it is.

    Args:
        deaths: How many of them.
        seconds: Since something came back.
        cause: Of the last death.
    """
    return (
        f"{deaths} workers died or hung in {seconds:.0f} seconds, and none of them evaluated anything. The last one: "
        f"{cause}. The state is saved. To see whether the task itself ends its process: python scripts/launch.py "
        "--resume RUN_DIR --workers 0"
    )
