"""An optimiser in the form of `torch.optim` on one flat parameter."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import CheckpointError, ConfigurationError, did_you_mean
from distes.errors.imports import import_class
from distes.runs.state_check import misfit, require, same
from distes.runs.state_encoding import decode, encode, pack, unpack
from distes.strategies.update.clipup import ClipUp

MEMORY = ("memory", "group", "beside")  # keys of a state whose form depends on the optimiser and on its steps so far
NOT_FOR_ONE_VECTOR = ("Optimizer", "LBFGS", "SparseAdam", "Muon")


class FlatOptimizer:
    """Minimises over one float32 vector of P, as torch's optimisers do; bits do not depend on the process.

    An optimiser named by its import path may keep what it likes in its `state` and in its parameter group: tensors of
    any shape and dtype, numbers, None, lists and dicts of these. One with two modes (`train` and `eval`, as those
    without a schedule have) is kept in the first: members are drawn where it wants gradients, and the centre is there.
    """

    def __init__(
        self, name: str, centre_P: NDArray[np.float32], learning_rate: float, arguments: Mapping[str, Any]
    ) -> None:
        """Builds the optimiser and tries it on a few numbers, so that no later step can be refused.

        Args:
            name: ClipUp, a class in `torch.optim`, or the import path of one in their form.
            centre_P: Where to start; copied.
            learning_rate: Its `lr`.
            arguments: Its further arguments.

        Raises:
            ConfigurationError: There is no such class, it refuses the arguments, or (where it is named by its import
                path) it would go on otherwise after a resume than without.
        """
        build = _chosen(name)
        if "lr" in arguments:
            raise ConfigurationError("optimizer_args must not hold lr: set learning_rate.", argument="optimizer_args")
        _spare_the_compiler()
        self._title = name if name == "ClipUp" or "." in name else f"torch.optim.{name}"
        # A part, not a function of its own, since strategies are sent to workers.
        self._make = partial(_OnOneVector, build, dict(arguments), learning_rate)
        try:
            self._make(np.zeros(1, np.float32)).step(np.ones(1, np.float32))
        except Exception as error:
            raise ConfigurationError(
                f"optimizer_args: {self._title} refuses {dict(arguments)}: {error}.", argument="optimizer_args"
            ) from error
        if "." in name:
            _require_resumable(self._make, self._title)
        self._optimizer = self._make(centre_P)

    @property
    def centre_P(self) -> NDArray[np.float32]:
        """Where it stands; a copy."""
        return self._optimizer.centre_P

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.group["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.group["lr"] = value

    def step(self, gradient_P: NDArray[np.float32]) -> None:
        """Takes one step against a gradient.

        Raises:
            ConfigurationError: An optimiser that is not torch's own raises something. The step may be half done.
        """
        if self._optimizer.is_torchs:
            self._optimizer.step(gradient_P)
            return
        try:
            self._optimizer.step(gradient_P)
        except Exception as error:
            raise ConfigurationError(
                f"optimizer: a step of {self._title} raised {type(error).__name__}: {error}.", argument="optimizer"
            ) from error

    def is_finite(self) -> bool:
        """Whether the centre and the optimiser's memory of it hold neither NaN nor infinity."""
        return self._optimizer.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """The centre, the optimiser's memory of it, and what else it keeps, if it does; copied."""
        return {"centre_P": self.centre_P, **self._optimizer.memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            ConfigurationError: The stored centre has another size.
            CheckpointError: It is not the memory of such an optimiser. This one is then as it was.
        """
        centre_P = np.asarray(state["centre_P"], np.float32)
        require_size(centre_P, self._optimizer.centre_P.size)
        loaded, memory, group = self._make(centre_P), state["memory"], state.get("group", {})
        known = isinstance(group, Mapping) and "params" not in group
        if known and loaded.is_torchs and group:  # whose group changes from outside alone
            known = group.keys() == {"lr"} and type(group["lr"]) in (int, float)
        require(known, "/group", "what changes in the parameter group of such an optimiser")
        require(isinstance(memory, Mapping), "/memory", "a mapping")
        if memory and loaded.is_torchs:  # the memory of torch's optimisers has one form from the first step on
            stepped = self._make(centre_P)
            stepped.step(np.zeros_like(centre_P))
            problem = misfit(memory, stepped.memory()["memory"], place="/memory")
            if problem is not None:
                raise CheckpointError(f"{problem}.")
        loaded.remember(state)
        self._optimizer = loaded


class _OnOneVector:
    """An optimiser of torch's form whose only parameter is one vector of P."""

    def __init__(
        self,
        build: Callable[..., torch.optim.Optimizer],
        arguments: Mapping[str, Any],
        learning_rate: float,
        centre_P: NDArray[np.float32],
    ) -> None:
        self._centre = torch.nn.Parameter(torch.tensor(centre_P, dtype=torch.float32))
        self._optimizer = build([self._centre], lr=learning_rate, **_copied(arguments))
        module = type(self._optimizer).__module__
        self.is_torchs = module.startswith("torch.optim.") or type(self._optimizer) is ClipUp
        if callable(train := getattr(self._optimizer, "train", None)):
            train()
        self._first_group = _copied({key: value for key, value in self.group.items() if key != "params"})

    @property
    def centre_P(self) -> NDArray[np.float32]:
        """Where it stands; a copy."""
        centre_P: NDArray[np.float32] = self._centre.detach().numpy().copy()
        return centre_P

    @property
    def group(self) -> dict[str, Any]:
        """Its parameter group."""
        group: dict[str, Any] = self._optimizer.param_groups[0]
        return group

    def step(self, gradient_P: NDArray[np.float32]) -> None:
        """Takes one step; of torch's own optimisers without the decorator that imports torch's compiler (see below)."""
        self._centre.grad = torch.from_numpy(gradient_P)
        with torch.no_grad():
            if self.is_torchs:
                inspect.unwrap(type(self._optimizer).step)(self._optimizer)
            else:
                self._optimizer.step()

    def is_finite(self) -> bool:
        """Whether the vector and what is kept of it hold neither NaN nor infinity."""
        memory = self._optimizer.state.get(self._centre, {}).values()
        tensors = [self._centre, *(value for value in memory if isinstance(value, torch.Tensor))]
        return all(bool(tensor.isfinite().all()) for tensor in tensors)

    def memory(self) -> dict[str, Any]:
        """What it keeps of the vector, what it keeps beside, and what of its group has changed since it was made."""
        beside = dict(self._optimizer.state)
        memory = beside.pop(self._centre, {})
        group = {key: value for key, value in self.group.items() if key != "params"}
        changed = {
            key: value
            for key, value in group.items()
            if key not in self._first_group or not same(value, self._first_group[key])
        }
        parts = {"memory": memory, **({"group": changed} if changed else {}), **({"beside": beside} if beside else {})}
        copied: dict[str, Any] = _copied(parts)
        return copied

    def remember(self, state: Mapping[str, Any]) -> None:
        """Takes over what `memory` gave.

        torch's `load_state_dict` would cast all tensors to the dtype of the parameter.
        """
        if state["memory"]:
            self._optimizer.state[self._centre] = _copied(state["memory"])
        for key, value in state.get("beside", {}).items():
            self._optimizer.state[key] = _copied(value)
        self.group.update(_copied(state.get("group", {})))


def _require_resumable(make: Callable[[NDArray[np.float32]], _OnOneVector], title: str) -> None:
    """Tries whether an optimiser goes on from its memory, through the bytes of a file, as it would have without.

    Raises:
        ConfigurationError: It does not: it keeps something elsewhere, or what no file can hold, or it is random.
    """
    gradients = np.random.default_rng(0).standard_normal((12, 3), np.float32)
    try:
        whole, states = make(np.ones(3, np.float32)), []
        for gradient_P in gradients:
            whole.step(gradient_P)
            tree, arrays = encode({"centre_P": whole.centre_P, **whole.memory()})
            states.append(decode(tree, unpack(pack(arrays))[0]))
        resumes = True
        for done, state in enumerate(states[::3], start=1):
            resumed = make(state["centre_P"])
            resumed.remember(state)
            for gradient_P in gradients[3 * done - 2 :]:
                resumed.step(gradient_P)
            resumes = resumes and same(resumed.centre_P, whole.centre_P)
    except Exception as error:
        raise ConfigurationError(
            f"optimizer: {title} cannot be saved and resumed: {error}.", argument="optimizer"
        ) from error
    if not resumes:
        raise ConfigurationError(
            f"optimizer: {title} would go on otherwise after a resume than without: it draws random numbers, "
            "or keeps its memory elsewhere than in `state` and `param_groups`, from where it is saved.",
            argument="optimizer",
        )


def _chosen(name: str) -> Callable[..., torch.optim.Optimizer]:
    if "." in name:
        return import_class("optimizer", name, "torch.optim.Optimizer")
    known = {n: c for n, c in vars(torch.optim).items() if inspect.isclass(c) and issubclass(c, torch.optim.Optimizer)}
    known = {"ClipUp": ClipUp, **{n: c for n, c in known.items() if n not in NOT_FOR_ONE_VECTOR}}
    if name not in known:
        raise ConfigurationError(
            f"optimizer must be one of ClipUp, torch.optim's {', '.join(list(known)[1:])}, or the import path "
            f"of a class; got {name!r}.{did_you_mean(name, known)}",
            argument="optimizer",
        )
    return known[name]


def require_size(stored_P: NDArray[Any], parameters: int) -> None:
    """Refuses the centre of another policy.

    Raises:
        ConfigurationError: It has another size.
    """
    if stored_P.shape != (parameters,):
        raise ConfigurationError(f"The stored centre has {stored_P.size} parameters, this policy {parameters}.")


def _copied(value: Any) -> Any:
    """A private copy of data; what is none (a function, a class) stays what it is."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _spare_the_compiler() -> None:
    """Importing torch's compiler takes longer than everything else at start-up, and nothing here compiles.

    `add_param_group` imports it only to mark itself as not to be compiled. A mark that is set already is not set again.
    Where a version of torch does it otherwise, this does nothing, and costs the import.
    """
    method = getattr(torch.optim.Optimizer.add_param_group, "__wrapped__", None)
    if method is not None and not hasattr(method, "__dynamo_disable"):
        setattr(method, "__dynamo_disable", method)
