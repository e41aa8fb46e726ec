"""What TensorBoard shows of a run, read back by TensorBoard's own readers."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata as hparams

from distes import HOMES
from distes.api.configuration.keys import CLASSES
from distes.runs.monitors import Jsonl
from distes.runs.monitors.glossary import DESCRIPTIONS, GLOSSARY, entry_of, markdown
from distes.runs.monitors.summaries import LAYOUT
from distes.runs.monitors.tensorboard import TensorBoard
from tests.support.small import ROOT, sphere, train

FITNESS_N2 = np.array([[1.0, 2.0]])


def metrics(generation: int, **more: Any) -> dict[str, Any]:
    return {"generation": generation, "timesteps": generation * 1000, "fitness/mean": 1.0, **more}


def events(directory: Path) -> EventAccumulator:
    read = EventAccumulator(str(directory), size_guidance={"scalars": 0, "histograms": 0, "tensors": 0})
    read.Reload()
    return read


def points(read: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read.Scalars(tag)]


def test_groups_of_tags_are_sorted_from_learning_to_machinery() -> None:
    groups = sorted({tag.partition("/")[0] for tag in DESCRIPTIONS})
    assert groups == ["eval", "fitness", "info", "strategy", "system"]
    assert min(DESCRIPTIONS) == "eval/final"
    assert entry_of("norm/mine").tag == "strategy/norm/mine", "a metric of a user's strategy"


def test_every_metric_of_a_run_is_in_the_glossary() -> None:
    recorded = {key for line in train(sphere(), generations=2).lines for key, value in line.items()}
    assert recorded - GLOSSARY.keys() == {"params/sha256", "noise/fingerprint", "workers/place"}


def test_each_tag_is_described_once(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    for generation in (1, 2):
        board.record(metrics(generation, **{"eval/mean": 1.0}), FITNESS_N2)
    board.close()
    read = events(tmp_path)
    for tag in ("fitness/mean", "system/timesteps", "eval/mean", "fitness/histogram"):
        assert read.SummaryMetadata(tag).summary_description
    assert read.SummaryMetadata("fitness/mean").summary_description == DESCRIPTIONS["fitness/mean"]


def test_a_count_of_faults_is_silent_until_there_is_one(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    for generation, late in ((1, 0), (2, 0), (3, 4), (4, 0)):
        board.record(metrics(generation, **{"chunks/late": late, "chunks/retried": 0}), FITNESS_N2)
    board.close()
    read = events(tmp_path)
    assert "system/chunks/retried" not in read.Tags()["scalars"]
    assert points(read, "system/chunks/late") == [(2000, 0), (3000, 4), (4000, 0)]


def test_the_layout_names_tags_that_exist(tmp_path: Path) -> None:
    TensorBoard(tmp_path).close()
    (event,) = events(tmp_path).Tensors("custom_scalars__config__")
    layout = Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == list(LAYOUT)
    for category in layout.category:
        for chart in category.chart:
            for series in chart.margin.series:
                assert {series.value, series.lower, series.upper} <= DESCRIPTIONS.keys()
            for pattern in chart.multiline.tag:
                assert any(re.search(pattern, tag) for tag in DESCRIPTIONS), pattern


def test_a_run_is_a_row_of_hyperparameters_with_its_final_score(tmp_path: Path) -> None:
    given = {"strategy": "ARS", "strategy.sigma": 0.1, "seed": 3, "none": None, "sizes": [32, 32], "top": float("inf")}
    board = TensorBoard(tmp_path, configuration=given)
    board.record(metrics(1), FITNESS_N2)
    board.finish({"eval_mean": 42.5, "reason": "generations"})
    board.close()
    read = events(tmp_path)
    start = hparams.parse_session_start_info_plugin_data(
        read.SummaryMetadata(hparams.SESSION_START_INFO_TAG).plugin_data.content
    )
    assert set(start.hparams) == given.keys() - {"none"}
    assert start.hparams["strategy.sigma"].number_value == 0.1
    assert start.hparams["sizes"].string_value == "[32, 32]"
    assert points(read, "eval/final") == [(1000, 42.5)]
    assert hparams.SESSION_END_INFO_TAG in read.Tags()["tensors"]


def test_another_axis_after_a_resume_records_the_run_anew(tmp_path: Path) -> None:
    jsonl, board = Jsonl(tmp_path / "metrics.jsonl"), TensorBoard(tmp_path, axis="generations")
    for generation in (1, 2, 3):
        line = metrics(generation, **{"eval/mean": float("nan") if generation == 2 else 5.0})
        jsonl.record(line, FITNESS_N2)
        board.record(line, FITNESS_N2)
    board.close()
    jsonl.close()
    board = TensorBoard(tmp_path, axis="timesteps", resumed_from=metrics(2))
    board.record(metrics(3), FITNESS_N2)
    board.close()
    assert points(events(tmp_path), "system/generation") == [(1000, 1), (2000, 2), (3000, 3)]
    assert len(list(tmp_path.glob("events.out.other-axis.*"))) == 1
    board = TensorBoard(tmp_path, axis="timesteps", resumed_from=metrics(1))
    board.record(metrics(2, **{"fitness/mean": 9.0}), FITNESS_N2)
    board.close()
    assert points(events(tmp_path), "fitness/mean") == [(1000, 1.0), (2000, 9.0)], "what comes later is hidden"


def test_the_glossary_in_the_documentation_is_current() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert markdown() in page, "write it anew: python scripts/glossary.py"


@pytest.mark.parametrize("name", CLASSES["strategy"])
def test_every_strategy_is_described(name: str) -> None:
    """The metrics that a strategy's source returns by name are in the glossary."""
    source = (ROOT / f"{HOMES[name].replace('.', '/')}.py").read_text()
    returned = re.findall(r'^ +"([a-z]+/[a-z_]+)": ', source, re.MULTILINE)
    assert set(returned) <= GLOSSARY.keys()
