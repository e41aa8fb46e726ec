"""Tasks that end the process that evaluates a certain pair, in every way that a process can end."""

import ctypes
import os
import sys
import time

import numpy as np
import torch

from distes.members.members import Members
from distes.policies.linear import Linear
from distes.tasks.base import Outcome, Request
from distes.tasks.chunk_pairs import ChunkPairs
from distes.tasks.functions import Function
from tests.support.small import Parts, parts


class Deadly(Function):
    """The sphere; whoever meets the draw of episodes 13 dies of it."""

    pairs_per_chunk = ChunkPairs(4, 4)

    def __init__(self, how: str = "", seconds: float = 0.0) -> None:
        super().__init__("sphere", dimension=3)
        self._how, self._seconds = how, seconds

    def evaluate(self, members: Members, request: Request) -> Outcome:
        time.sleep(self._seconds)
        if np.any(request.seeds_B == 13):
            end(self._how)
        return super().evaluate(members, request)


def end(how: str) -> None:
    """Ends this process."""
    if how == "os._exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit(4)
    if how == "segmentation fault":
        ctypes.string_at(0)
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "hangs":
        time.sleep(600)


def deadly(how: str = "", seconds: float = 0.0) -> Parts:
    torch.manual_seed(0)
    return parts(Deadly(how, seconds), Linear(1, 3, bias=False))
