"""EvoTorch's structure strings of networks: `Linear(obs_length, 16) >> Tanh() >> Linear(16, act_length)`."""

import ast
from dataclasses import dataclass

from distes.api.translation.literals import parsed
from distes.api.translation.translated import Translation, shown
from distes.errors import ConfigurationError

ACTIVATIONS = {"Tanh": "tanh", "ReLU": "relu", "ELU": "elu", "SiLU": "silu"}
NEARLY_ZERO = 1e-4  # initial bounds below it count as zero
FORM = "it is Linear(obs_length, act_length), or such layers with Tanh, ReLU, ELU or SiLU between them"


@dataclass(frozen=True)
class Network:
    """A feed-forward network.

    Attributes:
        hidden: Units of the hidden layers.
        activation: The activation between layers; None if there is one layer.
        bias: Whether layers have a bias.
    """

    hidden: list[int]
    activation: str | None
    bias: bool


def set_network(translation: Translation) -> None:
    """Sets the policy, and its initial parameters.

    Args:
        translation: What the key `network` belongs to, which it has.
    """
    given = translation.take("network")
    said = translation.was("network")
    translation.only("network_args", (None,), "they are arguments of a class")
    bounds = translation.take("initial_bounds", [-0.00001, 0.00001])
    initial = translation.was("initial_bounds")
    if not (
        isinstance(bounds, list) and all(isinstance(one, float | int) and abs(one) <= NEARLY_ZERO for one in bounds)
    ):
        translation.refuse("initial_bounds", bounds, "policies begin at zero, or as torch has it")
    try:
        network = read(given)
    except (ConfigurationError, ValueError, IndexError):
        translation.refuse("network", given, FORM)
        return
    if network.activation is None:
        translation.choose("policy", "Linear", said)
        translation.set("policy.bias", network.bias, said)
        translation.set("policy.initial_scale", 0, initial)
    elif not network.bias:
        translation.refuse("network", given, "layers of MLP have a bias")
    else:
        translation.choose("policy", "MLP", said)
        translation.set("policy.hidden_sizes", network.hidden, said)
        translation.set("policy.activation", network.activation, said)
        translation.set("policy.init", "zero", initial)


def read(text: object) -> Network:
    """Reads a structure string.

    Raises:
        ValueError: It is none, or has other layers.
        IndexError: A layer lacks an argument.
        ConfigurationError: It is not Python.
    """
    if not isinstance(text, str):
        raise ValueError(f"{shown(text)} is no text")
    layers = _layers(parsed(text, "eval").body)
    linear, activations = layers[::2], layers[1::2]
    known = all(name in ACTIVATIONS and not arguments for name, arguments in activations)
    if len(layers) % 2 == 0 or any(name != "Linear" for name, _ in linear) or not known:
        raise ValueError(FORM)
    kinds = {ACTIVATIONS[name] for name, _ in activations}
    if len(kinds) > 1:
        raise ValueError(FORM)
    sizes = ["obs_length", *(arguments[1] for _, arguments in linear)]
    if [arguments[0] for _, arguments in linear] != sizes[:-1] or sizes[-1] != "act_length":
        raise ValueError(FORM)
    biases = {arguments[2] if len(arguments) > 2 else "True" for _, arguments in linear}
    if biases not in ({"True"}, {"False"}):
        raise ValueError(FORM)
    return Network([int(size) for size in sizes[1:-1]], next(iter(kinds), None), biases == {"True"})


def _layers(node: ast.expr) -> list[tuple[str, list[str]]]:
    """The layers of `a >> b >> c`: names, and arguments as texts."""
    match node:
        case ast.BinOp(left=left, op=ast.RShift(), right=right):
            return [*_layers(left), *_layers(right)]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            return [(name, [ast.unparse(one) for one in arguments] + [ast.unparse(one.value) for one in keywords])]
    raise ValueError(FORM)
