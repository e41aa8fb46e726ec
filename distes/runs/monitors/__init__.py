"""What a person sees of a run: a table in the terminal, TensorBoard, a file of metrics.

`TensorBoard` is imported from `distes.runs.monitors.tensorboard`, since its package is only needed where it is used.
"""

from distes.runs.monitors.base import Metrics, Monitor, Monitors
from distes.runs.monitors.console import Console
from distes.runs.monitors.jsonl import Jsonl

__all__ = ["Console", "Jsonl", "Metrics", "Monitor", "Monitors"]
