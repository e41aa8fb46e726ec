"""An optimiser in the form of `torch.optim` on one flat parameter."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.clipup import ClipUp
from distes.errors import ConfigurationError, did_you_mean

NOT_FOR_ONE_VECTOR = ("Optimizer", "LBFGS", "SparseAdam", "Muon")


class FlatOptimizer:
    """Minimises over one float32 vector of P, as torch's optimisers do; bits do not depend on the process."""

    def __init__(
        self, name: str, centre_P: NDArray[np.float32], learning_rate: float, arguments: Mapping[str, Any]
    ) -> None:
        """Builds the optimiser, and tries one step, so that no later one can be refused.

        Args:
            name: ClipUp, a class in `torch.optim`, or the import path of one in their form.
            centre_P: Where to start; copied.
            learning_rate: Its `lr`.
            arguments: Its further arguments.

        Raises:
            ConfigurationError: There is no such class, or it refuses the arguments.
        """
        build = _chosen(name)
        if "lr" in arguments:
            raise ConfigurationError("strategy.optimizer_args must not hold lr: set strategy.learning_rate.")
        _spare_the_compiler()
        title = name if name == "ClipUp" or "." in name else f"torch.optim.{name}"
        try:
            trial = torch.nn.Parameter(torch.zeros(1))
            trial.grad = torch.ones(1)
            _step(build([trial], lr=learning_rate, **arguments))
        except Exception as error:
            raise ConfigurationError(f"strategy.optimizer_args: {title} refuses {dict(arguments)}: {error}.") from error
        self._centre = torch.nn.Parameter(torch.tensor(centre_P, dtype=torch.float32))
        self._optimizer: torch.optim.Optimizer = build([self._centre], lr=learning_rate, **arguments)

    @property
    def centre_P(self) -> NDArray[np.float32]:
        """Where it stands; a copy."""
        centre_P: NDArray[np.float32] = self._centre.detach().numpy().copy()
        return centre_P

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.param_groups[0]["lr"] = value

    def step(self, gradient_P: NDArray[np.float32]) -> None:
        """Takes one step against a gradient."""
        self._centre.grad = torch.from_numpy(gradient_P)
        _step(self._optimizer)

    def is_finite(self) -> bool:
        """Whether the centre and the optimiser's own memory hold neither NaN nor infinity."""
        memory = self._optimizer.state.get(self._centre, {}).values()
        tensors = [self._centre, *(value for value in memory if isinstance(value, torch.Tensor))]
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def state_dict(self) -> dict[str, Any]:
        """The centre and the optimiser's own memory, copied."""
        memory = self._optimizer.state_dict()["state"].get(0, {})
        return {"centre_P": self.centre_P, "memory": _copied(memory)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ConfigurationError: The stored centre has another size.
        """
        centre_P = np.asarray(state["centre_P"], np.float32)
        require_size(centre_P, self._centre.numel())
        with torch.no_grad():
            self._centre.copy_(torch.from_numpy(centre_P))
        whole = self._optimizer.state_dict()
        # Copied here, too: torch would go on working in the very tensors of `state`.
        whole["state"] = {0: _copied(state["memory"])} if state["memory"] else {}
        self._optimizer.load_state_dict(whole)


def _chosen(name: str) -> Callable[..., torch.optim.Optimizer]:
    if "." in name:
        # Here, since whoever imports classes by their paths imports jsonargparse, too.
        signature = importlib.import_module("distes.signature")
        chosen: type[torch.optim.Optimizer] = signature.import_class(
            "strategy.optimizer", name, "torch.optim.Optimizer"
        )
        return chosen
    known = {n: c for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    known = {"ClipUp": ClipUp, **{n: c for n, c in known.items() if n not in NOT_FOR_ONE_VECTOR}}
    if name not in known:
        raise ConfigurationError(
            f"strategy.optimizer must be one of ClipUp, torch.optim's {', '.join(list(known)[1:])}, or the import path "
            f"of a class; got {name!r}.{did_you_mean(name, known)}"
        )
    return known[name]


def require_size(stored_P: NDArray[Any], parameters: int) -> None:
    """Refuses the centre of another policy.

    Raises:
        ConfigurationError: It has another size.
    """
    if stored_P.shape != (parameters,):
        raise ConfigurationError(f"The stored centre has {stored_P.size} parameters, this policy {parameters}.")


def _copied(memory: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in memory.items()}


def _step(optimizer: torch.optim.Optimizer) -> None:
    """The optimiser's own step, without the wrapper that imports torch's compiler (see below)."""
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)


def _spare_the_compiler() -> None:
    """Importing torch's compiler takes longer than everything else at start-up, and nothing here compiles.

    Three methods of torch.optim import it only to mark themselves as not to be compiled. A mark that is set already is
    not set again. Where a version of torch does it otherwise, this does nothing, and costs the import.
    """
    for name in ("add_param_group", "state_dict", "load_state_dict"):
        method = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)
        if method is not None and not hasattr(method, "__dynamo_disable"):
            setattr(method, "__dynamo_disable", method)
