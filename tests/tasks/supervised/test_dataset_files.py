"""MNIST and CIFAR-10 from their standard files: packed or not, mapped, and refused with a sentence where damaged."""

import re
from pathlib import Path

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.population import Purpose
from distes.tasks.supervised.dataset_files import cifar10_files, mnist_files
from distes.tasks.supervised.supervised import Supervised
from tests.support.dataset_files import idx, write_cifar10, write_mnist


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "MNIST/raw"])
def test_mnist_packed_or_not_and_where_torchvision_has_put_it(packed: bool, below: str, tmp_path: Path) -> None:
    made = write_mnist(tmp_path / below, packed=packed)
    for _ in range(2):  # unpacked the first time
        (images, labels), (test_images, _) = mnist_files(str(tmp_path), "somewhere")
        assert (images == made["train-images-idx3-ubyte"]).all() and (labels == made["train-labels-idx1-ubyte"]).all()
        assert (test_images == made["t10k-images-idx3-ubyte"]).all()
    assert isinstance(images, np.memmap) and not images.flags.writeable
    assert not [path for path in (tmp_path / below).iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("packed", [False, True])
def test_cifar10_as_files_and_as_an_archive(packed: bool, tmp_path: Path) -> None:
    rows = write_cifar10(tmp_path, packed=packed)
    for _ in range(2):
        (images, labels), (test_images, _) = cifar10_files(str(tmp_path))
        assert (images == rows[:, 1:].reshape(-1, 3, 32, 32)).all() and (labels == rows[:, 0]).all()
        assert images.shape == (100, 3, 32, 32) and len(test_images) == 20
    assert isinstance(images, np.memmap)


def test_a_task_of_them(tmp_path: Path) -> None:
    made = write_mnist(tmp_path)
    for name in ("mnist", "fashion_mnist"):
        task = Supervised(name, folder=str(tmp_path))
        task.check()
        assert task.observation_shape == (1, 28, 28) and task.action_size == 10
        assert task.data.train.x_nO.dtype == np.uint8
        x_nO, y_n = task.parts.tensors(Purpose.TEST)
        assert (x_nO[:, 0].numpy() == made["t10k-images-idx3-ubyte"] * np.float32(1 / 255)).all()
        assert (y_n.numpy() == made["t10k-labels-idx1-ubyte"]).all()
        assert [len(task.parts.part(purpose).rows_n) for purpose in Purpose] == [180, 20, 50]
    write_cifar10(tmp_path)
    task = Supervised("cifar10", folder=str(tmp_path))
    task.check()
    assert task.observation_shape == (3, 32, 32) and task.classes[6] == "frog"
    assert task.inputs(3).shape == (3, 3, 32, 32)


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        ConfigurationError, match=r"has no t10k-labels-idx1-ubyte, nor .*four files there, from somewhere"
    ):
        mnist_files(str(tmp_path), "somewhere")
    with pytest.raises(ConfigurationError, match=re.escape("has no CIFAR-10: put its binary version there")):
        cifar10_files(str(tmp_path))
    (tmp_path / "data_batch_1").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="is a pickle, which can run any code"):
        cifar10_files(str(tmp_path))


@pytest.mark.parametrize(
    "content", [b"", b"abc", idx(np.zeros((2, 3), np.uint8)), idx(np.zeros((200, 28, 28), np.uint8))[:-1]]
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^folder: .*images-idx3-ubyte' is no IDX file of bytes with 3 axes"):
        mnist_files(str(tmp_path), "somewhere")


def test_a_damaged_archive_leaves_nothing_behind(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConfigurationError, match=r"^folder: .*train-images-idx3-ubyte' cannot be unpacked"):
        mnist_files(str(tmp_path), "somewhere")
    assert sorted(one.name for one in tmp_path.iterdir() if not one.name.endswith(".gz")) == []


def test_files_of_two_data_sets_are_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(199, np.uint8)))
    with pytest.raises(ConfigurationError, match="train has 200 images and 199 labels"):
        mnist_files(str(tmp_path), "somewhere")
