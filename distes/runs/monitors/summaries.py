"""The values of TensorBoard's events: scalars with descriptions, texts, the layout of charts, and hyperparameters."""

import math
import re
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import (
    DATA_CLASS_BLOB_SEQUENCE,
    DATA_CLASS_SCALAR,
    DataClass,
    Summary,
    SummaryMetadata,
)
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from distes.runs.monitors.glossary import FINAL
from distes.runs.units import UNITS, Units

# The charts of TensorBoard's page "Custom Scalars": a value with the lower and upper edge of its band, or regular
# expressions of tags, each of which matches the whole tag.
Band = tuple[str, str, str]
LAYOUT: dict[str, dict[str, Band | list[str]]] = {
    "Is it learning?": {  # TensorBoard shows charts with bands after others and in reversed order, so all have one
        "the population: median fitness, from the 10th to the 90th percentile": (
            "fitness/p50",
            "fitness/p10",
            "fitness/p90",
        ),
        "the centre: mean return, from its worst to its best episode": ("eval/mean", "eval/min", "eval/max"),
    },
    "Is it stable?": {
        "length of the step over that of the centre": ["strategy/norm/step_over_centre"],
        "spread of fitness": ["fitness/std", "eval/std"],
        "share of the population that the centre surpasses": ["eval/rank"],
        "sigma and learning rate": ["strategy/sigma(/.+)?", "strategy/learning_rate"],
        "length of episodes": ["info/episode_length"],
    },
    "Is the machine busy?": {
        "share of time in which workers evaluate": ["system/workers/utilisation"],
        "share of a simulator's rows that run an episode": ["system/rows/utilisation"],
        "seconds of a generation": ["system/time/.+"],
        "timesteps per second": ["system/rate/timesteps"],
        "workers": ["system/workers/(alive|restarted)"],
        "chunks that were evaluated again": ["system/chunks/.+"],
    },
}


def described(description: str, plugin: str, data_class: DataClass) -> SummaryMetadata:
    """Returns a description of a tag, complete: TensorBoard's data server ignores it without the other two.

    Args:
        description: Markdown that TensorBoard shows beside the chart.
        plugin: The page that shows the tag.
        data_class: The kind of its values.
    """
    plugin_data = SummaryMetadata.PluginData(plugin_name=plugin)
    return SummaryMetadata(summary_description=description, plugin_data=plugin_data, data_class=data_class)


def scalar(tag: str, value: float, description: str | None = None) -> Summary.Value:
    """Returns a scalar in single precision; beyond its range, infinity.

    Args:
        tag: The tag.
        value: The value.
        description: Markdown that TensorBoard shows beside the chart. It is needed once for each tag and file.
    """
    metadata = None if description is None else described(description, "scalars", DATA_CLASS_SCALAR)
    with np.errstate(over="ignore"):
        return Summary.Value(tag=tag, simple_value=float(np.float32(value)), metadata=metadata)


def yaml_text(tag: str, text: str) -> Summary.Value:
    """Returns a value for TensorBoard's Text page: Markdown, in a code fence longer than any in the text."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    return _of_bytes(f"{tag}/text_summary", metadata, f"{fence}yaml\n{text.rstrip()}\n{fence}".encode())


def animation(tag: str, gif: bytes, description: str | None = None) -> Summary.Value:
    """Returns an animated GIF, which TensorBoard shows among images.

    Args:
        tag: The tag.
        gif: The file.
        description: As in `scalar`.
    """
    width, height = struct.unpack("<HH", gif[6:10])
    metadata = None if description is None else described(description, "images", DATA_CLASS_BLOB_SEQUENCE)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    return Summary.Value(tag=tag, image=image, metadata=metadata)


def layout(scalars: Sequence[str] = (), units: Units = UNITS) -> Summary.Value:
    """Returns the layout of TensorBoard's page "Custom Scalars".

    Args:
        scalars: Names of the scalars that the task reports; each has a chart.
        units: What the task's steps and episodes are called.
    """
    reported: dict[str, Band | list[str]] = {
        f"{name}: members and centre": [f"(eval/)?info/{re.escape(name)}"] for name in scalars
    }
    charts_of = {**LAYOUT, **({"What does the task report?": reported} if scalars else {})}
    categories = [
        layout_pb2.Category(title=title, chart=[_chart(units.say(name), tags) for name, tags in charts.items()])
        for title, charts in charts_of.items()
    ]
    content = layout_pb2.Layout(category=categories).SerializeToString()
    return _of_bytes(custom_scalars.CONFIG_SUMMARY_TAG, custom_scalars.create_summary_metadata(), content)


def hyperparameters(values: Mapping[str, Any], run: str) -> list[Summary.Value]:
    """Returns a row of TensorBoard's page "HParams", which has all metrics beside it.

    Args:
        values: Hyperparameters by name. Those that are None are left out; what is neither a number nor a text is shown
            as a text.
        run: A name that no other run has, since runs of the same name are averaged.
    """
    plain = {key: _plain(value) for key, value in values.items() if value is not None}
    return list(hparams_pb(plain, trial_id=run).value)


def finished(score: float) -> list[Summary.Value]:
    """Returns the final score, and the end of the row that `hyperparameters` began."""
    end = HParamsPluginData(session_end_info=SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time.time()))
    metadata = hparams.create_summary_metadata(end)
    return [
        scalar(FINAL, score),
        Summary.Value(tag=hparams.SESSION_END_INFO_TAG, metadata=metadata, tensor=hparams.NULL_TENSOR),
    ]


def _chart(title: str, tags: Band | list[str]) -> layout_pb2.Chart:
    if isinstance(tags, list):
        multiline = layout_pb2.MultilineChartContent(tag=[f"^{tag}$" for tag in tags])
        return layout_pb2.Chart(title=title, multiline=multiline)
    value, lower, upper = tags
    series = layout_pb2.MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def _of_bytes(tag: str, metadata: SummaryMetadata, content: bytes) -> Summary.Value:
    """Returns a value of one text; anything but a scalar tensor is shown as a table."""
    tensor = TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto())
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)


def _plain(value: Any) -> bool | float | str:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
