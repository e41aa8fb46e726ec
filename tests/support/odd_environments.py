"""Environments that do what few do, in plain Python, importable by workers: made wrongly, or hard to live with."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tests.support.environments import Step


class Plain(gymnasium.Env[Any, Any]):
    """Five steps of random observations; a reward for action 1. `open` counts instances that are not closed."""

    observation_space: spaces.Space[Any] = spaces.Box(-1, 1, (2,), np.float32)
    action_space: spaces.Space[Any] = spaces.Discrete(2)
    open: ClassVar[int] = 0
    most: ClassVar[int] = 0  # that were open at once

    def __init__(self) -> None:
        Plain.open += 1
        Plain.most = max(Plain.most, Plain.open)
        self._is_open = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._look(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self._look(), float(action), self.steps == 5, False, {}

    def close(self) -> None:
        assert self._is_open, "closed twice"
        self._is_open = False
        Plain.open -= 1

    def _look(self) -> Any:
        return self.np_random.uniform(-1, 1, 2).astype(np.float32)


class FourValues(Plain):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, info


class NoInfo(Plain):
    def reset(self, **arguments: Any) -> Any:
        return super().reset(**arguments)[0]


class NoSeedArgument(Plain):
    def reset(self) -> Any:  # type: ignore[override]
        return super().reset()


class NoActionArgument(Plain):
    def step(self) -> Any:  # type: ignore[override]
        return super().step(0)


class NoOptionsArgument(Plain):
    def reset(self, *, seed: int | None = None) -> Any:  # type: ignore[override]
        return super().reset(seed=seed)


class SeedsItself(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that calls what it wraps in a way of its own."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self.env.reset(seed=seed)


class BeyondBounds(Plain):
    def _look(self) -> Any:
        return np.array([0, 50], np.float32) if self.steps == 2 else super()._look()


class BeyondBoundsInPart(Plain):
    observation_space = spaces.Dict({"here": spaces.Box(-1, 1, (2,), np.float32), "there": spaces.Box(0, 1, (), float)})

    def _look(self) -> Any:
        return {"here": super()._look(), "there": -0.5}


class OfOtherType(Plain):
    def _look(self) -> Any:
        return super()._look().astype(np.float64)


class Rounded(Plain):
    def _look(self) -> Any:
        return np.array([1 + 1e-7, -1], np.float32)


class SmallSeeds(Plain):
    """As those that hand their seed to NumPy's old generator."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        np.random.RandomState(None if seed is None else seed << 32)
        return super().reset(seed=seed)


class VectorReward(Plain):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, np.array([reward, 1.0]), *rest


class RewardOfOne(Plain):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, np.array([reward]), *rest


class TwoFlags(Plain):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, np.array([terminated, terminated]), truncated, info


class ShowsLess(Plain):
    """One number where four are declared: broadcasting would spread it over the row."""

    observation_space = spaces.Box(-1, 1, (4,), np.float32)

    def _look(self) -> Any:
        return np.array([0.5], np.float32)


class ShowsFloats(Plain):
    """In place of a picture's bytes."""

    observation_space = spaces.Box(0, 255, (9, 9), np.uint8)

    def _look(self) -> Any:
        return np.full((9, 9), 0.5)


class ShowsNothing(Plain):
    observation_space = spaces.Box(-1, 1, (0,), np.float32)


class DoesNothing(Plain):
    action_space = spaces.Box(-1, 1, (0,), np.float32)


class LateReward(Plain):
    """Its last reward is none: a first look may not come so far."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, None if terminated and action == 1 else reward, terminated, truncated, info


class Wordless(Plain):
    def step(self, action: Any) -> Any:
        assert action is None


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ValueError


class Unreadable(Plain):
    def step(self, action: Any) -> Any:
        raise UnreadableError


class Exits(Plain):
    def step(self, action: Any) -> Any:
        sys.exit(0)


class HardToClose(Plain):
    def close(self) -> None:
        super().close()
        raise RuntimeError("nobody answers")


class Solo(Plain):
    """Of which a process may hold one at a time, and which says so to other processes by a file.

    While there is a file `endless`, its episodes have no end.
    """

    def __init__(self, folder: str) -> None:
        self._endless = Path(folder) / "endless"
        self._lock = Path(folder) / str(os.getpid())
        self._lock.touch(exist_ok=False)
        super().__init__()

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        over = self.steps >= 5 and not self._endless.exists()
        return observation, reward, over, truncated, info

    def close(self) -> None:
        super().close()
        self._lock.unlink()


class Unseeded(Plain):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset()


class Doubles(Plain):
    """Its simulator has torch compute in float64."""

    def __init__(self) -> None:
        super().__init__()
        torch.set_default_dtype(torch.float64)


class Endless(Plain):
    """Never ends; asks its own process to stop at a step, if it is told to."""

    signal_at: ClassVar[int | None] = None
    signal: ClassVar[int] = 0

    def step(self, action: Any) -> Step:
        self.steps += 1
        assert self.steps < 10_000, "nobody stopped it"
        if self.steps == Endless.signal_at:
            Endless.signal_at = None  # a second one would end the process
            os.kill(os.getpid(), Endless.signal)
        return self._look(), 1.0, False, False, {}


class Flaky(Plain):
    """Raises the first times that an episode of some seeds comes to a step."""

    times: ClassVar[Counter[int]] = Counter()  # still to raise, by seed
    at: ClassVar[int] = 2

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None
        self._seed = seed
        if Flaky.at == 0:
            self._fail()
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        if self.steps + 1 == Flaky.at:
            self._fail()
        return super().step(action)

    def _fail(self) -> None:
        if Flaky.times[self._seed] > 0:
            Flaky.times[self._seed] -= 1
            raise ConnectionError("lost connection to the simulator")


class Trail(Plain):
    """What it says in `info` at an episode's last step is as the seed says."""

    def __init__(self, what: str = "trail") -> None:
        super().__init__()
        self._what = what

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None
        self._length = 1 + seed % 4
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        observation, reward, over, truncated, _ = super().step(action)
        info: dict[str, Any] = {
            "trail": {"trail": [0.5] * self._length},
            "word": {"trail": "to the left"},
            "none": {"trail": None},
            "empty": {"trail": []},
            "late": {"trail": [0.5, self.steps]} if over else {},
        }[self._what]
        return observation, reward, over, truncated, info


class Walk(gymnasium.Env[Any, Any]):
    """Adds up its actions for some steps, and starts at 0."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert seed is None or seed >= 0
        self._steps, self._x = 0, np.zeros(1, np.float32)
        self._length = 6 if seed is None else 3 + seed % 5
        return self._x, {"position": self._x.copy()}

    def step(self, action: Any) -> Step:
        self._steps += 1
        self._x = self._x + np.asarray(action, np.float32)
        return self._x, 1.0, self._steps == self._length, False, {"position": self._x.copy()}


def walks(num_envs: int, mode: str) -> Any:
    return SyncVectorEnv([Walk] * num_envs, autoreset_mode=AutoresetMode[mode])


class Forgets(gymnasium.vector.VectorWrapper[Any, Any, Any]):
    """Does not say what ended rows ended with."""

    def step(self, actions: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(actions)
        return observation, reward, terminated, truncated, {"position": info.get("position", observation)}


def nothing() -> Any:
    Plain()


def no_wrapper(env: Any) -> Any:
    return None


def vector_without_num_envs() -> Any:
    return SyncVectorEnv([Walk] * 2)


class Sized(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Wants a tuple, and nothing else."""

    def __init__(self, env: Any, size: tuple[int, int], scale: tuple[float, ...] | None = None) -> None:
        super().__init__(env)
        assert isinstance(size, tuple) and isinstance(scale, tuple | None), "no tuple"
        self.size, self.scale = size, scale


class Pictures(Plain):
    """Any Box, whose observations are its lowest and highest numbers in turn."""

    def __init__(self, low: float, high: float, shape: list[int], dtype: str) -> None:
        super().__init__()
        self.observation_space = spaces.Box(low, high, tuple(shape), np.dtype(dtype).type)

    def _look(self) -> Any:
        image = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
        image.reshape(-1)[::2] = self.observation_space.high.reshape(-1)[0]  # type: ignore[attr-defined]
        return image
