"""Checks, before a cluster is joined, that an experiment can be sent to workers."""

from typing import Any

from ray import cloudpickle

from distes.errors import ConfigurationError, raised
from distes.pools.experiment import Experiment

PARTS = {"task": "task", "forward": "policy", "perturbation": "perturbation", "strategy": "strategy"}


def require_sendable(experiment: Experiment) -> None:
    """Pickles the parts of an experiment as Ray will. Arrays stay outside the pickle and are not copied.

    Raises:
        ConfigurationError: A part cannot be pickled.
    """
    for field, name in PARTS.items():
        part: Any = getattr(experiment, field)
        try:
            cloudpickle.dumps(part, protocol=5, buffer_callback=lambda buffer: None)
        except Exception as error:
            whose = part.module if field == "forward" else part
            raise ConfigurationError(
                f"The {name} {type(whose).__name__} cannot be sent to workers, since pickling it {raised(error)}. "
                "Train with --workers 0, or have it make what cannot be pickled where it is first needed."
            ) from error
