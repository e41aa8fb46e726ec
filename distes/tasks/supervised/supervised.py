"""Supervised learning: fitness is minus a loss, or an accuracy, on batches of labelled data.

Axes: B members evaluated together, K rows of a batch, n rows of data, O observation, A numbers of an answer, V scalars.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.population import Floats, Purpose
from distes.runs.units import Units
from distes.tasks import gradients, mini_batches
from distes.tasks.base import Outcome, Request
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.data_task import DataTask, Shares
from distes.tasks.mini_batches import Batches
from distes.tasks.spaces.actions import Action, BoxAction, DiscreteAction
from distes.tasks.spaces.observations import Observation
from distes.tasks.supervised.array_files import digest, is_file_of_data
from distes.tasks.supervised.data_parts import DataParts, tensor_of
from distes.tasks.supervised.datasets import DATA_SETS
from distes.tasks.supervised.labelled import Dataset
from distes.tasks.supervised.measured import BLOCK, measured
from distes.tasks.supervised.objectives import (
    OBJECTIVES,
    OF_CLASSES,
    Objective,
    accuracy,
    check_objective,
    cross_entropy,
    objective_of,
)
from distes.tasks.supervised.own_data import NUMBERED


class Supervised(DataTask):
    """Trains a network on labelled data: fitness is minus the loss, or the accuracy, on a batch.

    Members are evaluated on batches of the training part; the centre, without noise, on all of the validation part; and
    the last centre on all of the test part, which decides nothing.

    Attributes:
        parts: The data in these three parts.
    """

    def __init__(
        self,
        data: str = "digits",
        *,
        folder: str | None = None,
        data_args: dict[str, Any] | None = None,
        test_args: dict[str, Any] | None = None,
        fitness: str = "cross_entropy",
        batch_size: int | None = 256,
        batches: Batches = "shared",
        validation: float = 0.1,
        test: float = 0.2,
        split: int = 0,
        standardize: bool = False,
    ) -> None:
        """Reads no data yet.

        Args:
            data: digits (with the extra `supervised`); mnist, fashion_mnist or cifar10, from `folder`; a file .npz with
                the arrays x and y, and x_test and y_test if it has a test part; or the import path of a torch Dataset,
                of a pair of arrays (inputs and targets), or of a function that returns one.
            folder: The folder of mnist's, fashion_mnist's or cifar10's standard files.
            data_args: Arguments of the class or function that data names.
            test_args: Arguments, beside data_args, by which it gives the test part; null splits one off.
            fitness: cross_entropy or mse, of which fitness is the negative; accuracy, in percent; or the import path of
                a function of answers (B, K, A) and targets, to a number per row (B, K), to be maximised.
            batch_size: Rows that a member is evaluated on; null for the whole training part.
            batches: shared is one batch for all members of a generation; own is one for each pair; no_mini_batch gives
                the pairs parts of a pass over the data, so that the generation sees each row as often as any other.
            validation: Share of the training data that is held out to evaluate the centre, to choose policy/best and to
                stop by; 0 uses the training data.
            test: Share of all data that is held out for testing, where the data have no test part of their own.
            split: Seed of these shares.
            standardize: Whether each number of the inputs is standardised by its mean and deviation over the training
                part. Images are scaled to [0, 1] in any case.
        """
        self._objective = objective_of(fitness)
        if batch_size is not None and batch_size < 1:
            raise ConfigurationError(
                f"batch_size must be at least 1, or null for all rows; got {batch_size}.", argument="batch_size"
            )
        if batches not in ("shared", "own", "no_mini_batch"):
            raise ConfigurationError(
                f"batches must be shared, own or no_mini_batch; got {batches!r}.", argument="batches"
            )
        shares = Shares(validation, test, split)
        if (data in DATA_SETS or is_file_of_data(data)) and (data_args or test_args):
            raise ConfigurationError(f"data_args is for data by import path; data is {data}.", argument="data_args")
        if folder is not None and (data == "digits" or data not in DATA_SETS):
            raise ConfigurationError(
                f"folder is for the files of mnist, fashion_mnist and cifar10; data is {data}, which does not read it.",
                argument="folder",
            )
        self._data, self._fitness, self._batch_size, self._batches = data, fitness, batch_size, batches
        self.parts = DataParts(data, folder, data_args or {}, test_args, shares, standardize=standardize)

    @property
    def data(self) -> Dataset:
        """The data set, which is read when it is first needed.

        Raises:
            ConfigurationError: It cannot be read.
        """
        return self.parts.data

    def check(self) -> None:
        """Reads the data, and checks that they fit the fitness.

        Raises:
            ConfigurationError: They cannot be read, or do not.
        """
        train = self.data.train
        _ = self.parts.part(Purpose.TRAIN)
        classes = train.y_n.ndim == 1
        if self._fitness in OF_CLASSES and not classes:
            raise ConfigurationError(
                f"fitness {self._fitness} needs a class for each row: integers from 0 on, in an array of shape (n,); "
                f"the targets of {self._data!r} are {train.y_n.shape[1]} numbers for each row, in two axes or floats. "
                "Give classes, or use mse to fit the numbers.",
                argument="fitness",
            )
        if self._fitness not in OBJECTIVES:
            check_objective(self._fitness, self._objective, tensor_of(train.y_n), self.action_size)
        test = self.data.test
        if test is not None and (
            test.x_nO.shape[1:] != train.x_nO.shape[1:]
            or test.x_nO.dtype != train.x_nO.dtype
            or test.y_n.shape[1:] != train.y_n.shape[1:]
            or (classes and test.y_n.max() >= self.action_size)
        ):
            raise ConfigurationError(
                f"The test part of {self._data!r} differs in form from the training part: inputs "
                f"{test.x_nO.shape[1:]}, {test.x_nO.dtype}, and {train.x_nO.shape[1:]}, {train.x_nO.dtype}.",
                argument="test_args",
            )

    @property
    def name(self) -> str:
        """The data set's name."""
        return Path(self._data).stem if is_file_of_data(self._data) else self._data.rpartition(".")[2]

    @property
    def identity(self) -> dict[str, str]:
        """The content of a file of arrays, which a resumed run must find unchanged."""
        return {"data": digest(self._data)} if is_file_of_data(self._data) else {}

    @property
    def notice(self) -> str | None:
        """A sentence on classes that no row has."""
        if self.data.train.y_n.ndim != 1:
            return None
        missing = np.setdiff1d(np.arange(self.action_size), self.data.train.y_n)
        if not len(missing):
            return None
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        has = "class has" if len(missing) == 1 else "classes have"
        return (
            f"Of the {self.action_size:,} classes of {self._data}, 0 to {self.action_size - 1:,}, {len(missing):,} "
            f"{has} no row ({shown}): the policy has an output for each. {NUMBERED}"
        )

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(C, H, W) for images, else (O,)."""
        return self.parts.observation.shape

    @property
    def action_size(self) -> int:
        """The number of classes, or of the numbers of a target."""
        targets = self.data.train.y_n
        return int(targets.max()) + 1 if targets.ndim == 1 else int(targets.shape[1])

    @property
    def units(self) -> Units:
        """Images, or rows, and batches."""
        row = "image" if len(self.observation_shape) == 3 else "row"
        return Units(row, "batch", f"{row}s", "batches")

    @property
    def scalars(self) -> tuple[str, ...]:
        """`loss`, the cross-entropy, and `accuracy`, for classes."""
        return ("loss", "accuracy") if self.data.train.y_n.ndim == 1 else ()

    @property
    def centre_scalars(self) -> tuple[str, ...]:
        """Those that cost time beside the members' fitness."""
        of_fitness = {"cross_entropy": "loss", "accuracy": "accuracy"}.get(self._fitness)
        return tuple(name for name in self.scalars if name != of_fitness)

    def meaning(self, scalar: str) -> str:
        """What the two scalars mean."""
        return {
            "loss": "cross-entropy in nats; lower is better",
            "accuracy": "share of rows whose class has the largest answer, in percent",
        }[scalar]

    def reference_observations(self, count: int, seed: int) -> NDArray[np.float32]:
        """Returns inputs of the training part, drawn at random."""
        rows_n = self.parts.part(Purpose.TRAIN).rows_n
        drawn = mini_batches.own(np.array([seed], np.uint64), len(rows_n), count)[0].numpy()
        return self.parts.inputs(Purpose.TRAIN, torch.from_numpy(rows_n[drawn])).numpy()

    def reference_episodes(self, policy: nn.Module, seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Returns a batch of the training part for each seed."""
        size = self._batch_size or BLOCK
        return [self.reference_observations(size, seed) for seed in seeds]

    def observation_and_action(self) -> tuple[Observation, Action]:
        """Returns what makes a policy's numbers of inputs, and classes or numbers of its answers."""
        count = self.action_size
        if self.data.train.y_n.ndim == 1:
            return self.parts.observation, DiscreteAction(count, 0)
        bound_A = np.full(count, np.inf, np.float32)
        return self.parts.observation, BoxAction(-bound_A, bound_A, (count,), rescale=False)

    def confusion(self, policy: nn.Module) -> NDArray[np.int64] | None:
        """Counts the classes that a policy gives to the test part's rows."""
        if self.data.train.y_n.ndim != 1:
            return None
        count, rows_n = self.action_size, tensor_of(self.parts.part(Purpose.TEST).rows_n)
        counts_CC = np.zeros((count, count), np.int64)
        for block_K in rows_n.split(BLOCK):
            x_1KO, y_1K = self.parts.batch(Purpose.TEST, block_K[None])
            answers_KA = policy(x_1KO[0])
            np.add.at(counts_CC, (y_1K[0].numpy(), answers_KA.argmax(1).numpy()), 1)
        return counts_CC

    @property
    def classes(self) -> tuple[str, ...]:
        """As the data set calls them."""
        return self.data.classes

    def inputs(self, count: int) -> NDArray[Any]:
        """Returns the first inputs of the test part, as the data set has them."""
        part = self.parts.part(Purpose.TEST)
        return np.array(part.data.x_nO[part.rows_n[:count]])

    @property
    def pairs_per_chunk(self) -> ChunkPairs:
        """More than usual in large populations: members that share a batch share much of its work."""
        return ChunkPairs(4, 32)

    def _nothing_to_play(self) -> ConfigurationError:
        return ConfigurationError(
            f"Only environments can be played; the policy was trained on the data {self._data}. `distes evaluate` "
            "measures it on the test part."
        )

    def evaluate(self, members: Members, request: Request) -> Outcome:
        """Runs members on their batches, or centres on all rows of the part that the purpose names."""
        count = len(members)
        members.select(np.arange(count))
        rows_bK = self._rows(request, members.device)
        means = measured(members, self.parts, rows_bK, request, self._objectives(request))
        scalars_BV = None
        if self.scalars:
            unknown_B = np.full(count, np.nan)
            of_name = {"loss": -means.get(cross_entropy, unknown_B), "accuracy": means.get(accuracy, unknown_B)}
            scalars_BV = np.stack([of_name[name] for name in self.scalars], axis=1).astype(np.float32)
        steps_B = np.full(count, rows_bK.shape[1], np.int64)
        return Outcome(means[self._objective], steps_B, count, scalars_BV=scalars_BV)

    @property
    def differentiable(self) -> bool:
        """Unless fitness is accuracy."""
        return self._fitness != "accuracy"

    def gradient(self, policy: nn.Module, centre_P: Floats, request: Request) -> Floats:
        """Returns the gradient on a generation's mini-batch; where pairs have their own, on the whole training part."""
        if not self.differentiable:
            return super().gradient(policy, centre_P, request)
        cpu = torch.device("cpu")
        if self._batches == "shared":
            rows_K = self._rows(request, cpu)[0]
        else:
            rows_K = torch.from_numpy(self.parts.part(Purpose.TRAIN).rows_n.copy())
        blocks = (self.parts.batch(Purpose.TRAIN, block_K[None]) for block_K in rows_K.split(BLOCK))
        rows = ((x_1KO[0], y_1K[0]) for x_1KO, y_1K in blocks)
        return gradients.gradient(policy, centre_P, rows, self._total)

    def _total(self, answers_KA: Tensor, targets: Tensor) -> Tensor:
        """The sum of the rows' fitness, in a form that autograd knows."""
        if self._fitness == "cross_entropy":
            return -nn.functional.cross_entropy(answers_KA, targets, reduction="sum")
        return self._objective(answers_KA[None], targets[None]).sum()

    def _objectives(self, request: Request) -> dict[Objective, None]:
        """What is measured of each row, in order: of members no more than their fitness."""
        further = [] if request.training or not self.scalars else [cross_entropy, accuracy]
        return dict.fromkeys([self._objective, *further])

    def _rows(self, request: Request, device: torch.device) -> Tensor:
        """The rows of the data that each member is evaluated on, (B, K) int64; (1, K) where all see the same."""
        rows_n = tensor_of(self.parts.part(request.purpose).rows_n)
        drawn_bK = mini_batches.drawn(request, self._batches, len(rows_n), self._batch_size, device)
        return rows_n.to(drawn_bK.device)[drawn_bK].to(device)
