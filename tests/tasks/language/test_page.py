"""What docs/language.md shows of prompts, rewards and configurations runs as it stands."""

import json
from pathlib import Path

import pytest
import yaml

from distes.cli import main
from tests.scripts.test_readme import blocks, program
from tests.support import tiny_language

PAGE = "docs/language.md"


def test_prompts_reward_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("".join(blocks(PAGE, "text")))
    (tmp_path / "my_rewards.py").write_text(program(PAGE, "def reward"))
    configuration = yaml.safe_load(next(text for text in blocks(PAGE, "yaml") if "my_rewards" in text))
    configuration["policy"]["init_args"]["path"] = tiny_language.folder("qwen2")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(configuration))
    few = {
        "generations": 1,
        "strategy.population_size": 4,
        "task.max_new_tokens": 4,
        "task.validation": 0,
        "workers": 0,
    }
    few |= {"task.test": 0.5, "noise.size": 2**18, "sync": "broadcast"}
    flags = [str(part) for key, value in few.items() for part in (f"--{key}", value)]
    assert main(["train", "--config", "mine.yaml", "--run_dir", "run", *flags]) == 0
    (row,) = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    assert row["fitness/mean"] <= 0 and row["info/exact"] == 0 and row["info/failed_rewards"] == 0
    assert 1 <= row["episode/length"] <= 4 and 1 <= row["eval/info/answer_length"] <= 4
    assert "info/answer_length" not in row and "info/perplexity" not in row  # the one is episode/length
