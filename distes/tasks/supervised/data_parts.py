"""The parts of a data set for training, validating and testing, and their rows as tensors on a device.

Axes: b members with rows of their own, or 1 for all; K rows of a batch, R any rows, n rows of a part, O observation, A
numbers of a target.
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.errors import ConfigurationError
from distes.population import Purpose
from distes.tasks.data_task import Shares
from distes.tasks.spaces.observations import FlatObservation, ImageObservation, Observation
from distes.tasks.supervised.datasets import DATA_SETS, read
from distes.tasks.supervised.labelled import Dataset, Labelled
from distes.tasks.supervised.standardized import StandardizedObservation

BLOCK = 4096  # rows that are measured at once


class Part(NamedTuple):
    """Rows of the data for one purpose.

    Attributes:
        data: The data that they are rows of.
        rows_n: Their numbers, int64.
    """

    data: Labelled
    rows_n: NDArray[np.int64]


class DataParts:
    """A data set that is read when it is first needed, by each process, and cut into parts.

    Data by import path are read by the driver, and travel with the instance: a node's workers share them.
    """

    def __init__(
        self,
        name: str,
        folder: str | None,
        arguments: Mapping[str, Any],
        test_arguments: Mapping[str, Any] | None,
        shares: Shares,
        *,
        standardize: bool = False,
    ) -> None:
        """Reads nothing yet.

        Args:
            name: A name in `DATA_SETS`, or an import path.
            folder: The folder of the files.
            arguments: Arguments for what the import path names.
            test_arguments: Further ones that give the test part; None if it has none of its own.
            shares: Which shares are held out.
            standardize: Whether inputs are standardised by the training part.
        """
        self._standardize = standardize
        self._source = name, folder, arguments, test_arguments
        self._shares = shares
        self._given: Dataset | None = None
        self._read: dict[Any, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out what each process makes for itself."""
        return {**self.__dict__, "_read": {}}

    @property
    def data(self) -> Dataset:
        """The whole data set.

        Raises:
            ConfigurationError: It cannot be read.
        """
        if self._given is not None:
            return self._given
        if "data" not in self._read:
            self._read["data"] = read(*self._source)
            if self._source[0] not in DATA_SETS:
                self._given = self._read["data"]
        made: Dataset = self._read["data"]
        return made

    @property
    def observation(self) -> Observation:
        """What makes a policy's numbers of inputs."""
        if "observation" not in self._read:
            shape = tuple(self.data.train.x_nO.shape[1:])
            images = len(shape) in (2, 3)
            made: Observation = ImageObservation(shape, self.data.brightest) if images else FlatObservation(shape)
            if self._standardize:
                blocks = torch.from_numpy(self.part(Purpose.TRAIN).rows_n.copy()).split(BLOCK)
                made = StandardizedObservation(made, (self._written(made, Purpose.TRAIN, rows) for rows in blocks))
            self._read["observation"] = made
        found: Observation = self._read["observation"]
        return found

    def part(self, purpose: Purpose) -> Part:
        """The rows for a purpose.

        Raises:
            ConfigurationError: The data cannot be read, or a part is empty.
        """
        if "parts" not in self._read:
            self._read["parts"] = self._parts()
        found: Part = self._read["parts"][purpose]
        return found

    def _parts(self) -> dict[Purpose, Part]:
        data = self.data
        cut = self._shares.cut(len(data.train.x_nO), has_test=data.test is not None)
        train, validate, test = (Part(data.train, rows_n) for rows_n in cut)
        if data.test is not None:
            test = Part(data.test, np.arange(len(data.test.x_nO)))
        for name, part in (("training", train), ("test", test)):
            if not len(part.rows_n):
                raise ConfigurationError(
                    f"The data {self._source[0]!r} have {len(data.train.x_nO):,} rows, of which none is left for the "
                    f"{name} part: choose other shares, task.validation and task.test."
                )
        return {Purpose.TRAIN: train, Purpose.VALIDATE: validate, Purpose.TEST: test}

    def tensors(self, purpose: Purpose, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """All inputs for a purpose as a policy takes them, (n, *shape) float32, and their targets.

        Raises:
            ConfigurationError: The data cannot be read, or a part is empty.
        """
        x_1nO, y_1n = self.batch(purpose, tensor_of(self.part(purpose).rows_n).to(device)[None])
        return x_1nO[0], y_1n[0]

    def batch(self, purpose: Purpose, rows_bK: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs (b, K, *shape) and targets (b, K) or (b, K, A) of rows, on the device of `rows_bK`."""
        x_RO = self.inputs(purpose, rows_bK.reshape(-1))
        targets = self._resident(purpose, rows_bK.device)[1]
        return x_RO.view(*rows_bK.shape, *x_RO.shape[1:]), targets[rows_bK]

    def inputs(self, purpose: Purpose, rows_R: Tensor) -> Tensor:
        """The inputs of rows as a policy takes them, (R, *shape) float32, on the device of `rows_R`."""
        return self._written(self.observation, purpose, rows_R)

    def _written(self, observation: Observation, purpose: Purpose, rows_R: Tensor) -> Tensor:
        chosen = self._resident(purpose, rows_R.device)[0].index_select(0, rows_R)
        x_RO = torch.empty(len(rows_R), *observation.shape, device=rows_R.device)
        observation.write_batch(chosen, x_RO)
        return x_RO

    def _resident(self, purpose: Purpose, device: torch.device) -> tuple[Tensor, Tensor]:
        """All inputs and targets of the data that a purpose's rows belong to, in a device's memory."""
        data = self.part(purpose).data
        key = id(data), device
        if key not in self._read:
            self._read[key] = tuple(tensor_of(one).to(device) for one in (data.x_nO, data.y_n))
        found: tuple[Tensor, Tensor] = self._read[key]
        return found


def tensor_of(array: NDArray[Any]) -> Tensor:
    """A tensor that shares an array's memory. It must not be written to, though torch does not know that."""
    if array.flags.writeable:
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)
