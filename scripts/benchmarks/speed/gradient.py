#!/usr/bin/env python3
"""Bytes of noise per second that ES's gradient estimate reads, over those that the machine can read.

    python scripts/benchmarks/speed/gradient.py [--json FILE]

The estimate is a weighted sum of slices of the noise table, so each slice has to be read once: the limit is the memory.
On a CPU that is `torch.sum` over as many bytes of the same table, on as many threads; on a CUDA device, where there is
one, the bandwidth of a copy (bytes read and bytes written). Beside ours: the best plain form in torch, an `add_` with
`alpha` per slice, and OpenAI-ES's, blocks of slices gathered into a matrix for `numpy.dot`.

All forms take turns, each time with other slices; a ratio is the median over the turns. Where all slices would take too
long, a form gets the first of them, and the ratio is one of bytes per second: ours and the limit at most 20 GB (marked
*), the others at most 0.5 GB.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from distes.noise import sum_cpu
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_sum
from scripts.benchmarks.report import Table, command_line, keep
from scripts.benchmarks.speed.gpu_forward import wait

OURS_AT_MOST, OTHERS_AT_MOST = 20e9, 0.5e9  # bytes
SHAPES = [(pairs, size) for size in (10**5, 10**6, 10**7) for pairs in (500, 5000)]


def seconds(work: Callable[[], Any], device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def read(table: torch.Tensor, start: int, nbytes: int) -> None:
    """torch.sum over `nbytes`, from `start` on and, where the table ends, again from its beginning."""
    left = nbytes // 4
    while left > 0:
        part = table[start : start + left]
        part.sum()
        left, start = left - len(part), 0


def add_each(table: torch.Tensor, starts_N: Any, weights_N: Any, out: torch.Tensor) -> None:
    out.zero_()
    for start, weight in zip(starts_N.tolist(), weights_N.tolist(), strict=True):
        out.add_(table[start : start + len(out)], alpha=weight)


def gather_and_dot(table: Any, starts_N: Any, weights_N: Any, out: torch.Tensor) -> None:
    """As OpenAI's evolution-strategies-starter does, in blocks of 500 (50 where they would not fit in the cache)."""
    total, block = np.zeros(len(out), np.float32), 500 if len(out) <= 10**5 else 50
    for i in range(0, len(starts_N), block):
        rows = np.stack([table[start : start + len(out)] for start in starts_N[i : i + block]])
        total += weights_N[i : i + block] @ rows.astype(np.float32, copy=False)
    out.copy_(torch.from_numpy(total))


def measure(noise: NoiseTable, pairs: int, size: int, device: torch.device, turns: int) -> dict[str, Any]:
    """Medians over the turns: our GB/s, the limit's, and the ratios to the limit."""
    numbers = np.random.default_rng(size + pairs)
    itemsize = noise.dtype.itemsize
    table = noise.tensor(device)
    out = torch.empty(size, device=device)
    our_form = partial(weighted_sum, noise, out=out)
    others: dict[str, Callable[..., Any]] = {"torch": partial(add_each, table, out=out)}
    if device.type == "cpu":
        others["openai"] = partial(gather_and_dot, noise.numbers, out=out)
    ours = min(pairs, int(OURS_AT_MOST // (size * itemsize)))
    few = min(pairs, int(OTHERS_AT_MOST // (size * itemsize)))
    nbytes = ours * size * itemsize
    source = table.view(torch.float32)
    target = torch.empty_like(source) if device.type == "cuda" else None

    def limit() -> float:
        if target is not None:
            return 2 * target.nbytes / seconds(lambda: target.copy_(source), device)
        start = int(numbers.integers(max(1, len(source) - nbytes // 4)))
        return nbytes / seconds(lambda: read(source, start, nbytes), device)

    def rate(form: Callable[..., Any], count: int) -> float:
        starts_N = numbers.integers(noise.size - size + 1, size=count)
        weights_N = numbers.standard_normal(count, dtype=np.float32)
        return count * size * itemsize / seconds(lambda: form(starts_N, weights_N), device)

    rates: dict[str, list[float]] = {name: [] for name in ("limit", "ours", *others)}
    rate(our_form, few)  # compiles
    for _ in range(turns):
        rates["limit"].append(limit())
        rates["ours"].append(rate(our_form, ours))
        for name, form in others.items():
            rates[name].append(rate(form, few))
    result: dict[str, Any] = {"device": device.type, "dtype": noise.dtype.name, "pairs": pairs, "size": size}
    result |= {"slices": ours, "slices_others": few}
    result |= {f"{name}_gb_per_s": statistics.median(values) / 1e9 for name, values in rates.items()}
    for name in ("ours", *others):
        result[name] = statistics.median(a / b for a, b in zip(rates[name], rates["limit"], strict=True))
    return result


def main() -> None:
    """Prints a row per device, dtype, size and number of pairs."""
    parser = command_line(__doc__)
    parser.add_argument("--table_mb", type=int, default=1000, help="so large that no cache holds it")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(sum_cpu.cores())
    devices = [torch.device("cpu")] + [torch.device("cuda")] * torch.cuda.is_available()
    print(f"{sum_cpu.cores()} threads, a table of {options.table_mb:,} MB; over the limit: ours, torch's add_, OpenAI")
    table = Table(
        *(("device", ">6"), ("dtype", ">9"), ("parameters", ">12,"), ("pairs", ">7,"), ("limit GB/s", ">12,.1f")),
        *(("ours GB/s", ">11,.1f"), ("ours", ">7.2f"), ("", "<1"), ("torch", ">8.2f"), ("OpenAI", ">8.2f")),
    )
    rows = []
    dtypes: tuple[Literal["float32", "float16"], ...] = ("float32", "float16")
    for dtype in dtypes:
        noise = NoiseTable(size=options.table_mb * 10**6 // np.dtype(dtype).itemsize, dtype=dtype)
        for device in devices:
            for pairs, size in SHAPES:
                row = measure(noise, pairs, size, device, options.turns)
                rows.append(row)
                mark = "*" if row["slices"] < pairs else ""
                rates = row["limit_gb_per_s"], row["ours_gb_per_s"]
                table.row(row["device"], dtype, size, pairs, *rates, row["ours"], mark, row["torch"], row.get("openai"))
        noise.close()
    keep(options.json, rows)


if __name__ == "__main__":
    main()
