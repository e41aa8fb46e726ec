"""Entries of rl-baselines3-zoo's ars.yml: arguments of sb3-contrib's ARS for an environment."""

import math
from typing import Any

from distes.api.translation.environment_ids import set_environment
from distes.api.translation.literals import Code, has_code, read
from distes.api.translation.readings import number, optional, text, whole
from distes.api.translation.translated import Rule, Translation, shown
from distes.errors import ConfigurationError

SCHEDULES = "a schedule over steps; strategy.learning_rate and strategy.sigma take schedules over generations"


def unscheduled(value: Any) -> float:
    """A number that is no schedule.

    Raises:
        ValueError: It is a schedule such as `lin_0.02`, or no number.
    """
    if isinstance(value, str) and value.startswith("lin_"):
        raise ValueError(SCHEDULES)
    return number(value)


RULES = {
    "learning_rate": Rule("strategy.learning_rate", unscheduled),
    "delta_std": Rule("strategy.sigma", unscheduled),
    "n_eval_episodes": Rule("task.episodes_per_member", whole),
    "alive_bonus_offset": Rule(
        "task.reward_shift", lambda value: -number(value) or 0.0, "added there, subtracted here"
    ),
    "n_timesteps": Rule("total_timesteps", whole),
    "seed": Rule("seed", whole),
    "env_kwargs": Rule("task.env_kwargs"),
    "eval_env_kwargs": Rule("task.eval_env_kwargs"),
}
# Defaults of sb3-contrib's ARS.
DEFAULTS = {"n_delta": 8, "learning_rate": 0.02, "delta_std": 0.05, "zero_policy": True}
MEANINGLESS = {
    "n_envs": "environments that a process steps at once: workers and task.slots say it here",
    "verbose": "logging",
    "device": "device says it here",
    "tensorboard_log": "TensorBoard is on",
}
ACTIVATIONS = {"nn.Tanh": "tanh", "nn.ReLU": "relu", "nn.ELU": "elu", "nn.SiLU": "silu"}
NORMALIZE = ("norm_obs", "norm_reward", "gamma", "clip_reward", "clip_obs", "epsilon")


def translate(environment: str, given: dict[str, Any], source: str) -> Translation:
    """Translates one entry.

    Args:
        environment: The environment's id, which is the entry's name.
        given: The entry.
        source: The library's name.
    """
    given = {"env": environment, **{key: _written(key, value) for key, value in given.items()}}
    translation = Translation(source, given, opaque=("env_kwargs", "eval_env_kwargs"))
    for key in translation.unread():
        if has_code(translation.peek(key)) and key != "policy_kwargs.activation_fn":
            translation.refuse(key, translation.take(key), "it is code, which is not run")
    translation.choose("strategy", "ARS", "the file: ars.yml")
    translation.take("env")
    set_environment(translation, "env", environment)
    if note := translation.values["task.env"].was.partition("; ")[2]:
        translation.set("task.env", translation.values["task.env"].value, f"{environment}, which {note}")
    translation.with_defaults(DEFAULTS)
    _directions(translation)
    _policy(translation)
    _normalisation(translation)
    translation.apply(RULES, MEANINGLESS)
    for key in ("env_wrapper", "callback", "vec_env_wrapper"):
        translation.only(key, (None,), "it names classes of Stable-Baselines3; task.wrappers takes Gymnasium's")
    translation.set("target_fitness", math.inf, "the zoo trains for all its timesteps")
    return translation


def _written(key: str, value: Any) -> Any:
    """A value that stands in the file as Python in a text."""
    if key in ("policy_kwargs", "normalize", "env_kwargs", "eval_env_kwargs") and isinstance(value, str):
        try:
            return read(value)
        except ConfigurationError:
            return Code(value)
    return value


def _directions(translation: Translation) -> None:
    directions = translation.take("n_delta", 8, whole)
    note = "directions there, members here"
    translation.set("strategy.population_size", 2 * directions, translation.was("n_delta", note=note))
    top = translation.take("n_top", None, optional(whole))
    if top is not None:
        most = min(top, directions)
        note = f"at most n_delta, {directions}" if most < top else ""
        translation.set("strategy.top_directions", most, translation.was("n_top", note=note))


def _policy(translation: Translation) -> None:
    name, zero = translation.take("policy", "LinearPolicy", text), translation.take("zero_policy")
    said, initial = translation.was("policy"), translation.was("zero_policy")
    hidden = translation.take("policy_kwargs.net_arch", [] if name == "LinearPolicy" else [64, 64])
    activation = translation.take("policy_kwargs.activation_fn", "nn.ReLU", text)
    if name not in ("LinearPolicy", "MlpPolicy"):
        translation.refuse("policy", name, "it is LinearPolicy or MlpPolicy")
    elif name == "LinearPolicy" or not hidden:
        translation.choose("policy", "Linear", said)
        translation.set("policy.bias", translation.take("policy_kwargs.with_bias", name != "LinearPolicy"), said)
        translation.set("policy.initial_scale", 0 if zero else 1.0, initial)
    else:
        translation.choose("policy", "MLP", said)
        translation.set("policy.hidden_sizes", hidden, translation.was("policy_kwargs.net_arch"))
        kind = ACTIVATIONS.get(f"nn.{activation.rpartition('.')[2]}")
        if kind is None:
            translation.refuse("policy_kwargs.activation_fn", activation, f"it is {', '.join(ACTIVATIONS)}")
        translation.set("policy.activation", kind, translation.was("policy_kwargs.activation_fn"))
        translation.set("policy.init", "zero" if zero else "torch", initial)
        translation.set("policy.output_scale", 1.0, initial)
        squashed = "their MlpPolicy rescales [-1, 1] to the bounds of a Box, after a tanh; here after a clip"
        translation.set("task.action_mode", "rescale", squashed)


def _normalisation(translation: Translation) -> None:
    """Reads `normalize`: true, or arguments of VecNormalize, whose two switches are on where they are missing."""
    found = {key: translation.take(f"normalize.{key}") for key in NORMALIZE if translation.has(f"normalize.{key}")}
    was = f"normalize: {', '.join(f'{key} {shown(value)}' for key, value in found.items())}"
    if not found:
        switch = translation.take("normalize", False)
        was = translation.was("normalize")
        if not isinstance(switch, bool):
            translation.refuse("normalize", switch, "it is true, false, or arguments of VecNormalize")
            return
        found = {"norm_obs": switch, "norm_reward": switch}
    observations, rewards = found.get("norm_obs", True), found.get("norm_reward", True)
    translation.set("task.normalize_observations", observations, was)
    if observations:
        translation.set("task.observation_fraction", 1.0, "VecNormalize counts all observations")
    if rewards:
        translation.set("task.normalize_rewards", True, was)
        translation.set("task.reward_gamma", found.get("gamma", 0.99), was)
        translation.set("task.reward_clip", found.get("clip_reward", 10.0), was)
    if found.get("clip_obs", 10.0) != 10.0:
        translation.refuse("normalize.clip_obs", found["clip_obs"], "normalised observations have no key for a limit")
