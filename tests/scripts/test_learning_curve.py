"""The picture of learning curves is made from what runs have written."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]


def draw(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "learning_curve.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)


def write(run: Path, rows: list[tuple[int, object]]) -> None:
    run.mkdir()
    lines = [{"timesteps": steps} if mean is None else {"timesteps": steps, "eval/mean": mean} for steps, mean in rows]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_line_for_each_run_with_a_point_for_each_finite_evaluation(tmp_path: Path) -> None:
    write(tmp_path / "seed <0>", [(100, -5.0), (200, None), (300, 0.0), (400, "NaN"), (500, 45.0)])
    write(tmp_path / "seed 1", [(250, 20.0)])
    done = draw("seed <0>", "seed 1", "--title", "A & B", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    picture = ElementTree.parse(tmp_path / "learning_curve.svg").getroot()
    lines = [element.attrib["points"].split() for element in picture if element.tag.endswith("polyline")]
    assert [len(points) for points in lines] == [3, 1]
    heights = [float(point.split(",")[1]) for point in lines[0]]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 3  # the axis of an SVG points down
    texts = {element.text for element in picture if element.tag.endswith("text")}
    assert {"A & B", "seed <0>", "seed 1", "timesteps", "0", "500"} <= texts


def test_one_evaluation_is_enough(tmp_path: Path) -> None:
    write(tmp_path / "run", [(0, 0.0)])
    assert draw("run", cwd=tmp_path).returncode == 0


def test_what_is_no_run_is_a_sentence(tmp_path: Path) -> None:
    write(tmp_path / "run", [(100, None)])
    for name, message in (("nothing", "is not the directory of a run"), ("run", "has no evaluation of the centre")):
        done = draw(name, cwd=tmp_path)
        assert done.returncode == 2
        assert re.search(f"error: {name}.* {message}", done.stderr)
