"""What `distes play --generation` does: prints the fitness of a member that is made again, beside the recorded one."""

import argparse
import sys

import numpy as np

from distes.api.replay.member_film import play_member
from distes.api.replay.replayed import SIGNS, Member, Replayed
from distes.api.saved.film import Filming
from distes.errors import ConfigurationError
from distes.runs.monitors.wording import number
from distes.runs.terminal import tell, tell_sentence


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose a member."""
    group = parser.add_argument_group(
        "a member of a generation", "made again from integers, and played with its own seed as in training"
    )
    group.add_argument("--generation", type=int, metavar="G", help="from 1; without --pair the generation's centre")
    group.add_argument("--pair", type=int, metavar="I", help="number of the pair, from 0")
    group.add_argument("--sign", choices=tuple(SIGNS), help="which member of the pair (default: +)")


def member_of(flags: argparse.Namespace) -> Member | None:
    """Returns the member that the flags choose, or None for a saved policy.

    Raises:
        ConfigurationError: Flags are missing, or contradict each other.
    """
    if flags.generation is None:
        if flags.pair is not None or flags.sign is not None:
            raise ConfigurationError("pair and sign choose a member of a generation: add --generation G.")
        return None
    if flags.pair is None and flags.sign is not None:
        raise ConfigurationError("sign chooses a member of a pair: add --pair I, or leave it out for the centre.")
    if flags.policy is not None:
        raise ConfigurationError("Either a saved policy is played or a member: leave out --policy or --generation.")
    if flags.seed is not None:
        raise ConfigurationError("A member is played with its own seed: leave out --seed, or leave out --generation.")
    if flags.max_steps is not None:
        raise ConfigurationError("A member's episodes end where they ended in training: leave out --max_steps.")
    if flags.episodes is not None and flags.pair is not None:
        raise ConfigurationError(
            "A member plays the episodes that it had in training: leave out --episodes, or --pair for the centre."
        )
    return Member(flags.generation, flags.pair, SIGNS[flags.sign or "+"])


def play_and_print(flags: argparse.Namespace, member: Member, filming: Filming | None) -> None:
    """Plays a member and prints what it came to."""

    def say(line: str) -> None:
        tell_sentence(f"{line}\n", sys.stderr)

    replayed = play_member(
        flags.run_dir,
        member,
        episodes=10 if flags.episodes is None else flags.episodes,
        human=flags.render == "human",
        filming=filming,
        trust=flags.trust,
        say=say,
    )
    for line in lines(member, replayed, filmed=filming is not None or flags.render == "human"):
        tell(f"{line}\n", sys.stdout)
    if filming is not None:
        tell(f"filmed in {filming.path}\n", sys.stdout)


def lines(member: Member, replayed: Replayed, *, filmed: bool) -> list[str]:
    """Returns what to print of a member.

    Args:
        member: The member.
        replayed: What it came to.
        filmed: Whether it ran in an environment that draws itself.
    """
    mean = float(np.mean(replayed.fitness_E))
    spread = f" over {len(replayed.fitness_E)} episodes" if member.pair is None else ""
    first = f"{member}: fitness {number(mean)}{spread}, {replayed.steps:,} steps"
    if replayed.recorded_E is None:
        return [first, "not recorded in training, so there is nothing to compare it with"]
    if replayed.same:
        return [first, "equal to the recorded fitness, bit for bit"]
    recorded = number(float(np.mean(replayed.recorded_E)))
    why = (
        "it ran in the single environment, which can draw itself; training evaluated a batched twin, whose episodes "
        "need not go the same way. Without --record and --render it runs as in training"
        if filmed
        else "on a GPU, and with LowRank noise, last bits depend on how many members run together"
    )
    return [first, f"not equal to the recorded fitness {recorded}: {why}"]
