"""What a person sees of a run: a table in the terminal, TensorBoard, a file of metrics.

`TensorBoard` is imported from `distes.monitor.tensorboard`, since its package is only needed where it is used.
"""

from distes.monitor.base import Metrics, Monitor, Monitors
from distes.monitor.console import Console
from distes.monitor.jsonl import Jsonl

__all__ = ["Console", "Jsonl", "Metrics", "Monitor", "Monitors"]
