"""The section `optimizer` of OpenAI's and Uber's JSON, as an optimiser of torch."""

from typing import Any

from distes.api.translation.readings import number
from distes.api.translation.translated import Translation

TYPE, ARGS = "optimizer.type", "optimizer.args"


def set_optimizer(translation: Translation) -> None:
    """Sets `strategy.optimizer`, its arguments and the learning rate.

    Args:
        translation: What the section belongs to.
    """
    kind = translation.take(TYPE, "adam")
    if kind not in ("adam", "sgd"):
        translation.refuse(TYPE, kind, "it is adam or sgd")
        return
    stepsize = translation.take(f"{ARGS}.stepsize", 0.01, number)
    translation.set("strategy.learning_rate", stepsize, translation.was(f"{ARGS}.stepsize"))
    if kind == "sgd":
        momentum = translation.take(f"{ARGS}.momentum", 0.9)
        said = translation.was(TYPE, f"{ARGS}.momentum", note="v = momentum v + (1 - momentum) g")
        translation.set("strategy.optimizer", "SGD", translation.was(TYPE))
        translation.set("strategy.optimizer_args", {"momentum": momentum, "dampening": momentum}, said)
        return
    translation.set("strategy.optimizer", "Adam", translation.was(TYPE))
    arguments: dict[str, Any] = {}
    if translation.has(f"{ARGS}.beta1") or translation.has(f"{ARGS}.beta2"):
        arguments["betas"] = [translation.take(f"{ARGS}.beta1", 0.9), translation.take(f"{ARGS}.beta2", 0.999)]
    if translation.has(f"{ARGS}.epsilon"):
        arguments["eps"] = translation.take(f"{ARGS}.epsilon")
    if arguments:
        translation.set("strategy.optimizer_args", arguments, f"{ARGS}: its beta1, beta2 and epsilon")
