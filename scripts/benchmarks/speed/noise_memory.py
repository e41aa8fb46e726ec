#!/usr/bin/env python3
"""Memory of the noise table with 1 and with 8 processes that read all of it: proportional set size (PSS), summed.

    python scripts/benchmarks/speed/noise_memory.py [--size 250000000] [--json FILE]

PSS counts a page that several processes share once, divided among them. One copy per node means that the sum over
eight processes is one table and eight interpreters.
"""

import multiprocessing
import time
from pathlib import Path
from typing import Any

from scripts.benchmarks.report import Table, command_line, keep


def pss_mb() -> float:
    """Of this process, in MB (Linux)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def read_all(size: int, touch: bool, ready: Any, everybody: Any, out: Any) -> None:
    """Reads the whole table where `touch`, waits for the others, then measures."""
    from distes.noise.table import NoiseTable

    table = NoiseTable(size=size)
    fingerprint = table.fingerprint if touch else ""
    ready.wait()
    out.put((pss_mb(), fingerprint))
    everybody.wait()


def measure(size: int, count: int, touch: bool) -> tuple[float, float, int]:
    """Sum of PSS in MB, seconds until all are ready, and how many fingerprints there were."""
    context = multiprocessing.get_context("spawn")
    ready, everybody, out = context.Barrier(count), context.Barrier(count), context.Queue()
    started = time.perf_counter()
    processes = [context.Process(target=read_all, args=(size, touch, ready, everybody, out)) for _ in range(count)]
    for process in processes:
        process.start()
    results = [out.get() for _ in processes]
    elapsed = time.perf_counter() - started
    for process in processes:
        process.join()
    return sum(pss for pss, _ in results), elapsed, len({fingerprint for _, fingerprint in results})


def main() -> None:
    """Prints a row per number of processes."""
    parser = command_line(__doc__)
    parser.add_argument("--size", type=int, default=250_000_000, help="numbers of float32")
    options = parser.parse_args()
    print(f"a table of {options.size * 4 / 1e6:,.0f} MB")
    table = Table(
        *(("processes", ">10"), ("PSS of all, MB", ">16,.0f"), ("without table, MB", ">19,.0f")),
        *(("the table, MB", ">15,.0f"), ("ready after s", ">15.1f")),
    )
    rows = []
    for count in (1, 8):
        total, seconds, fingerprints = measure(options.size, count, touch=True)
        bare, _, _ = measure(options.size, count, touch=False)
        assert fingerprints == 1
        rows.append(
            {"processes": count, "pss_mb": total, "bare_mb": bare, "table_mb": total - bare, "seconds": seconds}
        )
        table.row(*rows[-1].values())
    keep(options.json, rows)


if __name__ == "__main__":
    main()
