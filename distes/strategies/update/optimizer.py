"""An optimiser with the interface of `torch.optim` on one flat parameter."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distes.errors import CheckpointError, ConfigurationError, did_you_mean
from distes.errors.imports import import_class
from distes.members.torch_internals import spare_the_compiler
from distes.runs.state_check import misfit, require, same
from distes.runs.state_encoding import decode, encode, pack, unpack
from distes.strategies.update.clipup import ClipUp

BLOCK = 2**24  # numbers that are looked at together
MEMORY = ("memory", "group", "beside")  # keys of `state_dict` whose values depend on the optimiser and its steps
NOT_FOR_ONE_VECTOR = ("Optimizer", "LBFGS", "SparseAdam", "Muon")


class FlatOptimizer:
    """Holds a centre of P float32 numbers and minimises, as torch's optimisers do; bits are the same in any process.

    An optimiser named by its import path may keep tensors of any shape and dtype, numbers, None, and lists and dicts of
    these in its `state` and in its parameter group. An optimiser with two modes, `train` and `eval`, as schedule-free
    ones have, stays in `train`: the centre is where it wants gradients.

    Attributes:
        title: What messages call it.
    """

    def __init__(
        self, name: str, centre_P: NDArray[np.float32], learning_rate: float, arguments: Mapping[str, Any]
    ) -> None:
        """Builds the optimiser and takes a trial step, so that bad arguments show early.

        Args:
            name: ClipUp, a class in `torch.optim`, or the import path of a `torch.optim.Optimizer`.
            centre_P: The initial centre, (P,); copied.
            learning_rate: Its `lr`.
            arguments: Its further arguments.

        Raises:
            ConfigurationError: There is no such class, it refuses the arguments, or an optimiser named by its import
                path does not continue bit for bit after a resume.
        """
        build = _chosen(name)
        if "lr" in arguments:
            raise ConfigurationError("optimizer_args must not hold lr: set learning_rate.", argument="optimizer_args")
        spare_the_compiler()
        self.title = name if name == "ClipUp" or "." in name else f"torch.optim.{name}"
        # A part, not a function of its own, since strategies are sent to workers.
        self._make = partial(_OnOneVector, build, dict(arguments), learning_rate)
        try:
            self._make(np.zeros(1, np.float32)).step(np.ones(1, np.float32))
        except Exception as error:
            raise ConfigurationError(
                f"optimizer_args: {self.title} refuses {dict(arguments)}: {error}.", argument="optimizer_args"
            ) from error
        if "." in name:
            _require_resumable(self._make, self.title)
        self._optimizer = self._make(centre_P)

    @property
    def centre_P(self) -> NDArray[np.float32]:
        """The centre, (P,) float32; a copy."""
        return self._optimizer.centre_P

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self._optimizer.group["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.group["lr"] = value

    def argument(self, name: str) -> Any:
        """Returns an entry of its parameter group, such as `weight_decay`; None if there is no such entry."""
        return self._optimizer.group.get(name)

    def step(self, gradient_P: NDArray[np.float32]) -> None:
        """Takes one step against a gradient, (P,).

        Raises:
            ConfigurationError: An optimiser that is not torch's own raises an exception. The step may be incomplete.
        """
        if self._optimizer.is_torchs:
            self._optimizer.step(gradient_P)
            return
        try:
            self._optimizer.step(gradient_P)
        except Exception as error:
            raise ConfigurationError(
                f"optimizer: a step of {self.title} raised {type(error).__name__}: {error}.", argument="optimizer"
            ) from error

    def is_finite(self) -> bool:
        """Returns whether the centre and all tensors of the optimiser's memory are finite."""
        return self._optimizer.is_finite()

    def state_dict(self) -> dict[str, Any]:
        """Returns the centre, the optimiser's memory, and anything else it keeps; copied."""
        return {"centre_P": self.centre_P, **self._optimizer.memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads a state from `state_dict`.

        Raises:
            ConfigurationError: The stored centre has another size.
            CheckpointError: The memory does not fit this optimiser, which keeps its previous state.
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
    """A torch optimiser whose only parameter is one vector of P."""

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
        """The centre, (P,) float32; a copy."""
        centre_P: NDArray[np.float32] = self._centre.detach().numpy().copy()
        return centre_P

    @property
    def group(self) -> dict[str, Any]:
        """Its parameter group."""
        group: dict[str, Any] = self._optimizer.param_groups[0]
        return group

    def step(self, gradient_P: NDArray[np.float32]) -> None:
        """Takes one step; one of torch's own optimisers without its decorator, which imports torch's compiler."""
        self._centre.grad = torch.from_numpy(gradient_P)
        with torch.no_grad():
            if self.is_torchs:
                inspect.unwrap(type(self._optimizer).step)(self._optimizer)
            else:
                self._optimizer.step()

    def is_finite(self) -> bool:
        """Returns whether the vector and all tensors of its memory are finite."""
        memory = self._optimizer.state.get(self._centre, {}).values()
        tensors = [self._centre, *(value for value in memory if isinstance(value, torch.Tensor))]
        blocks = (block for tensor in tensors for block in tensor.detach().reshape(-1).split(BLOCK))
        return all(bool(block.isfinite().all()) for block in blocks)

    def memory(self) -> dict[str, Any]:
        """Returns the state of the vector, other entries of `state`, and changed entries of the parameter group."""
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
        """Loads what `memory` returned. torch's `load_state_dict` would cast all tensors to the parameter's dtype."""
        if state["memory"]:
            self._optimizer.state[self._centre] = _copied(state["memory"])
        for key, value in state.get("beside", {}).items():
            self._optimizer.state[key] = _copied(value)
        self.group.update(_copied(state.get("group", {})))


def _require_resumable(make: Callable[[NDArray[np.float32]], _OnOneVector], title: str) -> None:
    """Checks that an optimiser continues bit for bit from a saved state.

    Raises:
        ConfigurationError: It does not. It keeps state elsewhere, or state that cannot be saved, or it is random.
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
    """Checks the size of a stored centre.

    Raises:
        ConfigurationError: It is of another policy, with another number of parameters.
    """
    if stored_P.shape != (parameters,):
        raise ConfigurationError(f"The stored centre has {stored_P.size} parameters, this policy {parameters}.")


def _copied(value: Any) -> Any:
    """Returns a deep copy of tensors, arrays, lists, tuples and mappings; other objects are not copied."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copied, value))
    return {key: _copied(item) for key, item in value.items()} if isinstance(value, Mapping) else value
