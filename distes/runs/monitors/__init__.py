"""Monitors, which show or record a run: a table in the terminal, TensorBoard, and a file of metrics.

Import `TensorBoard` from `distes.runs.monitors.tensorboard`: only that module needs the tensorboard package.
"""

from distes.runs.monitors.base import Metrics, Monitor, Monitors
from distes.runs.monitors.console import Console
from distes.runs.monitors.jsonl import Jsonl

__all__ = ["Console", "Jsonl", "Metrics", "Monitor", "Monitors"]
