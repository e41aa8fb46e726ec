#!/usr/bin/env python3
"""The first minutes on a GPU: does all that distes does there work, and how fast? One command, no network.

    python3 scripts/gpu/check.py [OUT] [--budget SECONDS] [--only STEP ...] [--device cpu --tiny]

Needs Python 3.11 or newer, NumPy, and a torch with CUDA; distes need not be installed. A step that needs more is
skipped where that is missing, and says what it is; `pack.py` makes a file with all of it. Where there is no GPU, each
step that needs one is skipped for that reason. The steps are listed in `steps.py`, the most telling first. Each runs in
a process of its own with a time limit: neither a crash nor a GPU that has failed spoils the next. OUT/check.json has
the figures of all steps so far, OUT/check.md a table of them; both are written anew after each step. With `--device cpu
--tiny` the script tries itself out. Exit code 0: no step failed; 1: one did.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from step import Case, Skip, Step  # noqa: E402, after the path
from steps import STEPS  # noqa: E402

from distes.pools.device import visible_gpus  # noqa: E402

FIGURES = "FIGURES "  # begins the line in which a step hands over its figures
TAIL = 4000  # characters of a step's output that are kept
LEAST = 5  # seconds: with less no step begins
PACKAGES = ("numpy", "torch", "triton", "gymnasium", "mujoco", "warp-lang", "mujoco-warp", "numba", "ray", "pytest")


def versions() -> dict[str, str]:
    """Of Python and of the packages that there are."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run_here(step: Step, case: Case, output: int) -> None:
    """What the process of a step does: everything that is printed goes to a pipe."""
    os.setsid()  # so that what it starts ends with it
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(fd, "w", buffering=1, closefd=False) for fd in (1, 2))  # noqa: SIM115
    try:
        figures = step.run(case)
        code = 1 if "wrong" in figures else 0
    except Skip as reason:
        figures, code = {"reason": str(reason)}, 3
    except BaseException:
        traceback.print_exc()
        figures, code = {}, 1
    print(FIGURES + json.dumps(figures), flush=True)
    os._exit(code)  # a GPU that has failed may hang the interpreter's own end


def run(step: Step, case: Case, limit: float) -> dict[str, Any]:
    """Runs a step in a process of its own, and shows what it prints as it comes."""
    began, (reading, writing) = time.monotonic(), os.pipe()
    process = multiprocessing.get_context("fork").Process(target=run_here, args=(step, case, writing))
    process.start()
    os.close(writing)
    assert process.pid is not None
    in_time = False
    try:
        text, in_time = _read(reading, began + limit)
    finally:  # after Ctrl-C, too
        if not in_time:
            os.killpg(process.pid, signal.SIGKILL)
        process.join()
        os.close(reading)
    shown, found, figures = text.partition(FIGURES)
    outcome = {0: "ok", 3: "skipped"}.get(process.exitcode or 0, "failed") if in_time else "timeout"
    values = json.loads(figures) if found and in_time else {}
    if process.exitcode and process.exitcode < 0 and in_time:
        values["signal"] = signal.Signals(-process.exitcode).name
    seconds = round(time.monotonic() - began, 1)
    return {"name": step.name, "outcome": outcome, "seconds": seconds, "figures": values, "tail": shown[-TAIL:]}


def _read(source: int, until: float) -> tuple[str, bool]:
    """Whatever comes until the other side closes, and whether it did so in time."""
    parts: list[bytes] = []
    while (left := until - time.monotonic()) > 0:
        if not select.select([source], [], [], left)[0]:
            break
        if not (part := os.read(source, 65536)):
            return b"".join(parts).decode(errors="replace"), True
        parts.append(part)
        lines = part.decode(errors="replace")
        print(lines if FIGURES not in lines else lines.partition(FIGURES)[0], end="", flush=True)
    return b"".join(parts).decode(errors="replace"), False


def save(folder: Path | None, report: dict[str, Any]) -> None:
    """Figures and table, each whole or not at all."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("check.json", json.dumps(report, indent=1)), ("check.md", as_table(report))):
            temporary = folder / f".{name}.new"
            temporary.write_text(text + "\n")
            temporary.replace(folder / name)


def as_table(report: dict[str, Any]) -> str:
    """Outcomes, and below them the figures, one per line."""
    lines = [f"{report['machine']}, {report['began']}", "", "| step | outcome | seconds | |", "|---|---|---|---|"]
    for one in report["steps"]:
        lines.append(
            f"| {one['name']} | {one['outcome']} | {one.get('seconds', '')} | {one['figures'].get('reason', '')} |"
        )
    lines += ["", "| step | figure | |", "|---|---|---|"]
    for one in report["steps"]:
        lines += [f"| {one['name']} | {name} | {value} |" for name, value in _flat(one["figures"]) if name != "reason"]
    return "\n".join(lines)


def _flat(figures: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(figures, dict):
        for key, value in figures.items():
            yield from _flat(value, f"{name}, {key}" if name else str(key))
    else:
        shown = f"{figures:,.4g}" if isinstance(figures, float) else str(figures)
        yield name, shown.replace("|", "/").replace("\n", " ")[:200]


def main() -> int:
    """Runs the steps and says how each went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", help="a folder for figures and table")
    parser.add_argument("--budget", type=float, default=540, help="seconds for all steps together (default: 540)")
    parser.add_argument("--only", nargs="+", choices=[step.name for step in STEPS], help="these steps alone")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is for trying the script out")
    parser.add_argument("--tiny", action="store_true", help="with sizes that say nothing, to try the script out")
    options = parser.parse_args()
    began = time.monotonic()
    found = options.device == "cpu" or visible_gpus() > 0
    case = Case(options.device if found else "cpu", options.tiny)
    report: dict[str, Any] = {
        "began": time.strftime("%Y-%m-%d %H:%M:%S"),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": versions(),
        "device": options.device if found else "no GPU",
        "tiny": options.tiny,
        "steps": [],
    }
    print(f"{report['machine']}; {', '.join(f'{name} {version}' for name, version in report['versions'].items())}")
    for step in STEPS:
        if options.only and step.name not in options.only:
            continue
        left = options.budget - (time.monotonic() - began)
        print(f"\n== {step.name}: {step.about} (at most {min(step.seconds, max(left, 0)):.0f} s)", flush=True)
        if step.gpu and not found:
            result = {"name": step.name, "outcome": "skipped", "figures": {"reason": "no GPU"}}
        elif left < LEAST:
            result = {"name": step.name, "outcome": "skipped", "figures": {"reason": "the budget is spent"}}
        elif missing := step.missing():
            result = {"name": step.name, "outcome": "skipped", "figures": {"reason": f"needs {', '.join(missing)}"}}
        else:
            result = run(step, case, min(step.seconds, left))
        report["steps"].append(result)
        save(options.out, report)
        reason = result["figures"].get("reason")
        print(f"== {step.name}: {result['outcome']}{f': {reason}' if reason else ''}", flush=True)
    print("\n" + "\n".join(f"{one['outcome']:<9}{one['name']}" for one in report["steps"]))
    return int(any(one["outcome"] in ("failed", "timeout") for one in report["steps"]))


if __name__ == "__main__":
    raise SystemExit(main())
