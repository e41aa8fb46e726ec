"""Optimisers as others write them: each keeps its memory in another way."""

import math
from collections.abc import Callable
from typing import Any

import torch


class Plain(torch.optim.Optimizer):
    """Gradient descent; subclasses add what they remember."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        rate: float = group["lr"]
        return rate

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        (parameter,) = group["params"]
        parameter -= self.rate(group, parameter) * parameter.grad


class InTheGroup(Plain):
    """Keeps a distance, a counter, a tensor in float64 and None in its group, as D-Adaptation and Prodigy do."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.param_groups[0].update(d=1e-2, k=0, weight_sum=torch.zeros((), dtype=torch.float64), last=None, on=False)

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        group["k"] += 1
        group["d"] = max(group["d"], 0.3 * group["d"] * math.sqrt(group["k"]) + 1e-3 * float(parameter.grad.norm()))
        group["weight_sum"] += group["d"] ** 2
        group["last"], group["on"] = (group["d"], [group["k"]]), group["k"] > 2
        return float(group["lr"] * group["d"] / group["weight_sum"].sqrt())


class OfAllKinds(Plain):
    """State of all types and dtypes, some of it added late, and an entry beside those of parameters."""

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        state, beside = self.state[parameter], self.state["all"]
        state["steps"] = state.get("steps", 0) + 1
        state["sum"] = state.get("sum", torch.zeros(len(parameter), 2, dtype=torch.float64)) + parameter.grad[:, None]
        state["half"] = parameter.grad.bfloat16() if state["steps"] % 2 else None
        if state["steps"] > 4:
            state["late"] = {"list": [state["steps"], (True, 0.1)], "signs": parameter.grad > 0}
        beside["seen"] = beside.get("seen", torch.zeros((), dtype=torch.int64)) + 1
        late = 0.0 if "late" not in state else 0.01 * int(state["late"]["signs"].sum())
        half = 0.0 if state["half"] is None else float(state["half"].sum())
        return float(group["lr"] / (1 + state["sum"].square().mean() + late + abs(half) + beside["seen"]))


class TwoModes(Plain):
    """Without a schedule (Defazio et al. 2024, arXiv:2405.15682): the parameter is y while training, x otherwise."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.param_groups[0].update(training=False, count=0)

    def train(self) -> None:
        self.param_groups[0]["training"] = True

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        (group,) = self.param_groups
        (y,) = group["params"]
        if not group["training"]:
            raise RuntimeError("call train() before step()")
        state = self.state[y]
        z, x = state.get("z", y.clone()), state.get("x", y.clone())
        group["count"] += 1
        state["z"] = z - group["lr"] * y.grad
        state["x"] = x + (state["z"] - x) / group["count"]
        y.copy_(0.1 * state["z"] + 0.9 * state["x"])


class Hooked(Plain):
    """Its step is wrapped, and has a hook."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr)
        self.register_step_pre_hook(lambda optimizer, *_: optimizer.param_groups[0].update(hooked=True))

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        return float(group["lr"]) if group.get("hooked") else math.nan


class Elsewhere(Plain):
    """Counts in an attribute, which nobody saves."""

    count = 0

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        self.count += 1
        return float(group["lr"] / self.count)


class Random(Plain):
    """Draws from torch's generator."""

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        return float(group["lr"] * torch.rand(()))


class Unsaveable(Plain):
    """Keeps an object that no file holds."""

    def rate(self, group: dict[str, Any], parameter: torch.Tensor) -> float:
        self.state[parameter]["numbers"] = {1, 2}
        return float(group["lr"])


class NeedsAClosure(Plain):
    """Evaluates its objective by itself."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is not None, "it evaluates the objective by itself"


class BreaksLate(Plain):
    """Fails in its 20th step, when the parameter has moved already."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        super().step()
        state = self.state[self.param_groups[0]["params"][0]]
        state["count"] = state.get("count", 0) + 1
        if state["count"] == 20:
            raise KeyError("the 20th")
