#!/usr/bin/env python3
"""How many times the computers does ES need to be as fast as back-propagation?

    python scripts/studies/break_even.py [--figure FILE] [--json FILE]

Networks with one hidden layer learn scikit-learn's digits until the loss on the training data is 0.1, by Adam with
batches of 64 and by ES with three sizes of population, on one core. ES divides its members among workers, and little
travels, so the ratio of the two times is the number of cores at which ES would be as fast if it scaled perfectly. The
table has processor seconds, Adam's steps, ES's generations, and that number. The last lines fit its growth with the
parameters.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from distes.noise.table import NoiseTable
from distes.population import Floats, Purpose
from scripts.benchmarks.report import Table, keep
from scripts.studies.common import NOISE, Lab, by_sgd, colour, digits, drawing, legend, loss, mlp, options

MEMBERS = (64, 256, 1024)
RATES = ((1000, 0.05), (200, 0.03), (0, 0.02))  # Adam's learning rate by members: fewer give noisier estimates
TOO_LARGE = 1024 * 10_000  # members times parameters, from which on a run takes too long here
EVERY = 5  # generations from one look at the loss to the next
FAR = 1_000_000  # parameters


def by_es(hidden: int, members: int, wanted: float, noise: NoiseTable, most: int) -> dict[str, Any] | None:
    """Generations and seconds until the loss is reached; None if it is not."""
    lab = Lab.of(digits(batch_size=128), mlp(hidden), noise=noise)
    train, reached = digits().parts.tensors(Purpose.TRAIN), []

    def loop(done: int, centre_P: Floats) -> bool:
        if done % EVERY == 0 and loss(lab.loaded(centre_P), train) <= wanted:
            reached.append(done)
        return bool(reached)

    rate = next(rate for least, rate in RATES if members >= least)
    strategy = lab.es(population_size=members, sigma=0.05, learning_rate=rate)
    seconds = lab.train(strategy, most, loop=loop)
    return {"generations": reached[0], "seconds": seconds} if reached else None


def by_adam(hidden: int, wanted: float) -> tuple[int, float]:
    """Steps and seconds until the loss is reached."""
    network, train = mlp(hidden), digits().parts.tensors(Purpose.TRAIN)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    return by_sgd(network, train, optimizer, 100, anneal=False, enough=lambda: loss(network, train) <= wanted)


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Prints the table, and returns its rows."""
    chosen = options(__doc__, arguments, hidden=[16, 64, 256], members=list(MEMBERS), generations=800, percent=10)
    noise, rows, wanted = NoiseTable(size=NOISE, seed=1), [], chosen.percent / 100
    table = Table(
        *(("parameters", ">10,"), ("members", ">9,"), ("Adam: steps", ">13,"), ("seconds", ">9.2f")),
        *(("ES: generations", ">17,"), ("seconds", ">9.2f"), ("cores to be equal", ">19.1f")),
    )
    for hidden in chosen.hidden:
        parameters = sum(one.numel() for one in mlp(hidden).parameters())
        steps, seconds = by_adam(hidden, wanted)
        for members in chosen.members:
            if members * parameters > TOO_LARGE:
                continue
            found = by_es(hidden, members, wanted, noise, chosen.generations)
            row: dict[str, Any] = {"parameters": parameters, "members": members, "steps": steps, "adam": seconds}
            row |= {"generations": None, "seconds": None, "cores": None} if found is None else found
            if found is not None:
                row["cores"] = found["seconds"] / seconds
            table.row(
                *(row[key] for key in ("parameters", "members", "steps", "adam", "generations", "seconds", "cores"))
            )
            rows.append(row)
    for members in chosen.members:
        if (line := growth(rows, members)) is not None:
            exponent, far = line
            print(
                f"{members:,} members: cores grow as P^{exponent:.2f}; at {FAR:,} parameters that would be {far:,.0f}"
            )
    draw(rows, chosen)
    keep(chosen.json, rows)
    return rows


def growth(rows: list[dict[str, Any]], members: int) -> tuple[float, float] | None:
    """The exponent of a power law through the numbers of cores, and what it says of FAR parameters; None for one."""
    found = [(row["parameters"], row["cores"]) for row in rows if row["members"] == members and row["cores"]]
    if len(found) < 2:
        return None
    slope, start = np.polyfit(*np.log(np.array(found, np.float64)).T, 1)
    return float(slope), math.exp(start + slope * math.log(FAR))


def draw(rows: list[dict[str, Any]], chosen: Any) -> None:
    """The number of cores over parameters."""
    with drawing(chosen.figure, 1) as (axes,):
        for number, members in enumerate(chosen.members):
            found = [(row["parameters"], row["cores"]) for row in rows if row["members"] == members and row["cores"]]
            if not found:
                continue
            parameters, cores = zip(*found, strict=True)
            axes.loglog(parameters, cores, "o-", color=colour(number), label=f"ES, {members:,} members")
            if (line := growth(rows, members)) is not None:
                far = np.array([parameters[-1], FAR])
                axes.loglog(far, line[1] * (far / FAR) ** line[0], ":", color=colour(number))
        axes.axhline(1, color="black", linewidth=0.9)
        axes.set_xlabel("parameters (dotted: power law, not measured)")
        axes.set_ylabel("computers for Adam's time on one")
        axes.set_title(f"Training loss {chosen.percent / 100:g} on digits", fontweight="bold")
        legend(axes, loc="upper left")


if __name__ == "__main__":
    main()
