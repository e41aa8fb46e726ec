"""Temporary."""

from dataclasses import dataclass
import numpy as np
from distes.errors.imports import import_object


@dataclass
class Scored:
    reward_n: object
    scores_nV: object
    failed: int
    first_failure: str | None = None


class Rewards:
    def __init__(self, reward, args, scores, seconds, worst):
        self.r, self.a, self.s = reward, args or {}, tuple(scores)

    def check(self, rows):
        pass

    def close(self):
        pass

    def __call__(self, prompts, answers):
        f = import_object("task.reward", self.r) if isinstance(self.r, str) else self.r
        out = [f(p, a, **self.a) for p, a in zip(prompts, answers)]
        out = [o if isinstance(o, dict) else {"reward": o} for o in out]
        return Scored(
            np.array([o["reward"] for o in out], float),
            np.array([[o[s] for s in self.s] for o in out], float).reshape(len(out), len(self.s)),
            0,
        )
