"""The tables of docs/results/ whose figures the scripts of this folder measure: a heading, and rows of cells."""

import math
import re
from statistics import fmean, median
from typing import Any

from scripts.benchmarks.learning.learning import SHARES, cell
from scripts.benchmarks.learning.maze import ending

Rows = list[dict[str, Any]]
Shown = tuple[list[str], list[list[str]]]
TITLES = {
    "cartpole": "CartPole-v1",
    "halfcheetah_1m": "HalfCheetah-v5, 1e6 timesteps",
    "inverted_pendulum": "InvertedPendulum-v5",
    "inverted_double_pendulum": "InvertedDoublePendulum-v5",
    "swimmer": "Swimmer-v5",
    "halfcheetah": "HalfCheetah-v5",
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
    "pendulum": "Pendulum-v1",
    "maze": "distes/UMaze-v0",
}


def levels(entries: Rows) -> Shown:
    """Timesteps to each level: medians over the seeds, and what was published."""
    rows: list[list[str]] = []
    for task in dict.fromkeys(entry["task"] for entry in entries):
        mine = [entry for entry in entries if entry["task"] == task]
        for entry in mine:
            runs = entry["runs"]
            cells = [cell(one["timesteps"], one["exact"]) for one in entry["medians"]]
            reached = sum(run["timesteps_to"][-1] is not None for run in runs)
            title = f"{TITLES[task]}, {entry['levels'][-1]:g}" if entry is mine[0] else ""
            rows.append([title, f"`{entry['strategy']}`", *cells, f"{reached} of {len(runs)}"])
        rows.append(["", "published ES", *map(cell, mine[0]["published_es"]), ""])
    return ["task, 100 % level", "", *SHARES, "seeds at 100 %"], rows


def seeds(runs: Rows) -> Shown:
    """The tasks of which there are no published levels, seed by seed."""
    rows = []
    for case in ("cartpole", "halfcheetah_1m"):
        mine = [run for run in runs if run["case"] == case]
        spent, scores = (" / ".join(f"{run[key]:,.0f}" for run in mine) for key in ("timesteps", "eval_mean"))
        rows.append([TITLES[case], spent, scores])
    return ["task", "timesteps, seeds 0 / 1 / 2", "score"], rows


def low_rank(rows: Rows) -> Shown:
    """Dense noise beside rank 1."""
    cases: dict[str, dict[str, str]] = {}
    for row in rows:
        figures = row["figures"]
        shown = f"{min(figures):,.0f} to {max(figures):,.0f}, median {median(figures):,.0f}"
        case = f"{row['case']}, {len(figures)} seeds"
        cases.setdefault(case, {})[row["perturbation"]] = shown
    return ["task", "dense", "rank 1"], [[case, by["dense"], by["rank 1"]] for case, by in cases.items()]


def guidance(rows: Rows) -> Shown:
    """Cosines between estimate and gradient."""
    found = []
    for row in rows:
        means = [f"{fmean(run['cosine'] for run in row[name]):.4f}" for name in ("OpenAIES", "GuidedES")]
        found.append([f"{row['parameters']:,}", f"{row['population']}", f"{row['expected']:.4f}", *means])
        found[-1].append(str(len(row["OpenAIES"])))
    return ["parameters", "members", "random directions alone", "`OpenAIES`", "`GuidedES`", "seeds"], found


def many_parameters(rows: Rows) -> Shown:
    """How far a function has come down."""
    marks = list(rows[0]["runs"][0])
    found = []
    for row in rows:
        name, _, rate = row["strategy"].partition(", rate ")
        cells = [f"{median(run[mark] for run in row['runs']):.2f}" for mark in marks]
        function = f"{row['function']}, {row['parameters']:,} parameters"
        found.append([function, f"`{name}`{f', learning rate {rate}' if rate else ''}", *cells])
    return ["function", "strategy", *(f"{float(mark):.0%}" for mark in marks)], found


def maze(runs: Rows, genetic: Rows) -> Shown:
    """Who gets to the goal; GANS is among the genetic algorithms."""
    # The figures of GANS do not hold where its elites ended. An elite at the goal has left the trap.
    gans = [run for run in genetic if run["case"] == "maze" and run["name"] == "GANS"]
    gans = [{**run, "strategy": "GANS", "reached": run["eval_mean"] > -0.1, "ends": []} for run in gans]
    rows = []
    for name in dict.fromkeys(run["strategy"] for run in (*runs, *gans)):
        mine = [run for run in (*runs, *gans) if run["strategy"] == name]
        goal = [run["timesteps"] for run in mine if run["reached"]]
        around = sum(ending(run) != "not around" for run in mine)
        spent = f"{min(goal) / 1e6:.1f}e6 to {max(goal) / 1e6:.1f}e6, median {median(goal) / 1e6:.1f}e6" if goal else ""
        seeds = f"{min(run['seed'] for run in mine)} to {max(run['seed'] for run in mine)}"
        rows.append([f"`{name}`", seeds, f"{around} of {len(mine)}", f"{len(goal)} of {len(mine)}", spent])
    return ["strategy", "seeds", "left the trap", "at the goal", "timesteps to the goal"], rows


def _genetic(rows: Rows, deep: bool) -> list[list[str]]:
    found, digits = [], 0
    for case, name in dict.fromkeys((row["case"], row["name"]) for row in rows):
        if (case == "deep") == deep:
            scores = [row["eval_mean"] for row in rows if (row["case"], row["name"]) == (case, name)]
            digits = 2 if max(map(abs, scores)) < 10 else 0
            shown = " / ".join(f"{score:,.{digits}f}" for score in scores)
            title, _, rest = name.partition(", ")
            title = f"`{title}`{f', {rest}' if rest else ''}"
            found.append([TITLES.get(case, ""), title, shown, f"{median(scores):,.{digits}f}"])
    return found


def genetic(rows: Rows) -> Shown:
    """Genetic algorithms beside random search."""
    return ["task", "strategy", "return, seeds 0 / 1 / 2", "median"], _genetic(rows, deep=False)


def safe_mutations(rows: Rows) -> Shown:
    """Safe mutations of a deep policy beside plain ones."""
    return ["mutation", "return, seeds 0 / 1 / 2", "median"], [row[1:] for row in _genetic(rows, deep=True)]


def adaptive(rows: Rows) -> Shown:
    """Evaluations until a function is below a level, beside the cmaes package."""
    found = []
    for row in rows:
        for level, title in (("0.0001", "1e-4"), ("1e-10", "1e-10")):
            steps = {n: median(run["reached"].get(level, math.inf) for run in row[n]) for n in ORDER}
            lowest = {n: median(run["lowest"] for run in row[n]) for n in ORDER}
            shown = [f"{s:,.0f}" if s < math.inf else f"stays at {lowest[n]:.0e}" for n, s in steps.items()]
            ratio = row[f"ratio to {level}"]
            found.append([row["case"], title, *shown[:2], "" if ratio is None else f"{ratio:.2f}", shown[2]])
    return ["function", "below", "`SepCMAES`", "`SepCMA` of cmaes", "ratio", "`SNES`"], found


def virtual_batch_norm(*files: Rows) -> Shown:
    """Atari games: returns, and the shares of states that do not get the usual action."""
    found = []
    for row in (row for rows in files for row in rows):
        returns = [f"{row[key]:.2f}" for key in ("first fitness", "last fitness", "final")]
        shares = [f"{row[key]:.1%}" for key in ("share before", "share of its members", "share of the last centre")]
        game = f"{row['game']}, {row['steps']} steps"
        found.append([game, f"`{row['normalization']}`", str(row["seed"]), f"{row['frames']:,}", *returns, *shares])
    head = ["game", "normalisation", "seed", "frames", "return of members, at first", "at last", "of the last centre"]
    return [*head, "other actions, members at first", "members at last", "the last centre"], found


def humanoid(rows: Rows) -> Shown:
    """Humanoid-v5 to 6,000: timesteps to some scores, minutes of one core, and the score."""
    found = []
    for row in rows:
        scores = [f"{row[key]:,.0f} +- {row[error]:,.0f}" for key, error in SCORES]
        found.append([str(row["seed"]), *map(cell, row["timesteps_to"]), f"{row['core_minutes']:.0f}", *scores])
    head = ["seed", "to 1,000", "2,000", "4,000", "6,000", "minutes of one core"]
    return [*head, "score, 100 episodes", "100 further ones"], found


def language(rows: Rows) -> Shown:
    """A latent skill of a tiny language model: exact match on held-out prompts, mean over the seeds."""
    before = next(row["held out"] for row in rows if row["case"] == "base")
    sampled = f"{before['sampled']['exact']:.3f} by samples at temperature 1"
    found = [["the model before", "", "", "", "", f"{before['greedy']['exact']:.3f}", sampled, ""]]
    titles = {"ES": "`distes train`", "GRPO-like": "GRPO-like, by gradients", "random": "best of random perturbations"}
    for case, title in titles.items():
        mine = [row for row in rows if row["case"] == case]
        curves = [row["curve"] for row in mine if "curve" in row]
        curve = [f"{fmean(values):.2f}" for values in zip(*curves, strict=True)][:-1] if curves else [""] * 4
        for key, name in (("exact", title), ("vote", "vote of the best ten of them")):
            exact = [row[key] for row in mine if key in row]
            if exact:
                steps = [next(row[of] for of in ("generations", "steps", "members") if of in row) for row in mine]
                shown = f"{min(exact):.2f} to {max(exact):.2f}, {len(exact)} seeds"
                cells = curve if key == "exact" else [""] * 4
                found.append([name, *cells, f"{fmean(exact):.3f}", shown, f"{median(steps):,.0f}"])
    head = ["exact match, held out", *(f"after {seconds} core-seconds" for seconds in (5, 10, 20, 30)), "after 60"]
    return [*head, "range", "generations, steps, or members"], found


def smollm2(figures: Rows) -> Shown:
    """A chat model on sums that it was not trained on, before and after."""
    (one,) = figures
    shown = [
        [
            name,
            f"{one[name]['right']:.3f}",
            f"{one[name]['low']:.2f} to {one[name]['high']:.2f}",
            f"{one[name]['perplexity']:.0f}",
        ]
        for name in ("before", "after")
    ]
    return ["", "right, of 81 held-out prompts", "95 %", "perplexity of these prompts"], shown


def smollm2_answers(figures: Rows) -> Shown:
    """The first two answers of each wording, before and after."""
    (one,) = figures
    wordings: dict[str, list[list[str]]] = {}
    for before, after in zip(one["before"]["answers"], one["after"]["answers"], strict=True):
        shown = [before["prompt"], f"`{before['answer'].strip()}`", f"`{after['answer'].strip()}`"]
        wordings.setdefault(re.sub(r"\d", "", before["prompt"]), []).append(shown)
    return ["prompt", "before", "after"], [row for rows in wordings.values() for row in rows[:2]]


SUPERVISED = {
    "dense": "`digits`, `OpenAIES`",
    "rank 1": "with `LowRank` noise",
    "SNES": "with `SNES`",
    "PGPE": "with `PGPE`",
    "CNN": "`digits_cnn`, `OpenAIES`",
    "CNN, rank 1": "`digits_cnn` with `LowRank` noise",
}


def _over_splits(tests: list[float]) -> list[str]:
    return [f"{fmean(tests):.1f} %", f"{min(tests):.1f} to {max(tests):.1f}"]


def supervised(rows: Rows) -> Shown:
    """Accuracy on test parts, beside Adam's."""
    shown = []
    for case, title in SUPERVISED.items():
        mine = [row for row in rows if row["case"] == case]
        adam = f"{fmean(row['adam']['test'] for row in mine):.1f} %"
        spent = f"{mine[0]['generations']:,}", f"{mine[0]['images'] / 1e6:,.0f}"
        shown.append([title, *_over_splits([row["test"] for row in mine]), adam, *spent])
    return ["", "test accuracy", "splits", "Adam", "generations", "million images"], shown


def subnetwork(rows: Rows) -> Shown:
    """Masks that are searched, drawn, and none."""
    shown = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        members, size = (f"{mine[0][key]:,}" if key in mine[0] else "" for key in ("members", "bytes"))
        title = {"untrained": "all weights, untrained", "best of 1,000": "best of 1,000 random masks"}.get(
            case, f"`{case}`"
        )
        shown.append([title, *_over_splits([row["test"] for row in mine]), members, size])
    return ["", "test accuracy", "splits", "members", "bytes of the policy"], shown


SCORES = (("score", "standard_error"), ("again", "again_standard_error"))
ORDER = ("SepCMAES", "cmaes", "SNES")
LEARNING: dict[str, tuple[tuple[str, ...], Any]] = {
    "levels": (("learning_mujoco",), levels),
    "humanoid": (("humanoid",), humanoid),
    "seeds": (("learning",), seeds),
    "levels_long": (("learning_long",), levels),
    "supervised": (("supervised",), supervised),
    "subnetwork": (("subnetwork",), subnetwork),
    "language": (("language",), language),
    "smollm2": (("smollm2",), smollm2),
    "smollm2_answers": (("smollm2",), smollm2_answers),
    "low_rank": (("low_rank_learning",), low_rank),
    "guidance": (("guidance",), guidance),
    "many_parameters": (("many_parameters",), many_parameters),
    "maze": (("maze", "genetic"), maze),
    "genetic": (("genetic",), genetic),
    "safe_mutations": (("genetic",), safe_mutations),
    "adaptive": (("functions",), adaptive),
    "virtual_batch_norm": (
        tuple(f"virtual_batch_norm{name}" for name in ("_pong", "_pong_seeds", "_pong_without", "", "_without")),
        virtual_batch_norm,
    ),
}
