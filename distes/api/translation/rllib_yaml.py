"""YAML of RLlib's tuned examples for ES and ARS, of all its versions that had them."""

import math
from typing import Any

from distes.api.translation.environment_ids import atari_game, set_atari, set_environment
from distes.api.translation.readings import even, number, probability, whole
from distes.api.translation.translated import REFUSALS, Rule, Translation

# Defaults of RLlib's last version that had them; a file says what differs.
ES = {
    "episodes_per_batch": 1000,
    "train_batch_size": 10_000,
    "noise_stdev": 0.02,
    "stepsize": 0.01,
    "l2_coeff": 0.005,
    "action_noise_std": 0.01,
    "eval_prob": 0.03,
    "noise_size": 250_000_000,
    "observation_filter": "MeanStdFilter",
}
ARS = {
    "num_rollouts": 32,
    "rollouts_used": 32,
    "noise_stdev": 0.02,
    "sgd_stepsize": 0.01,
    "eval_prob": 0.03,
    "noise_size": 250_000_000,
    "observation_filter": "MeanStdFilter",
    "offset": 0,
}
OLD_NAMES = {
    "num_deltas": "num_rollouts",
    "deltas_used": "rollouts_used",
    "fcnet_hiddens": "model.fcnet_hiddens",
    "fcnet_activation": "model.fcnet_activation",
}
EVERY = {
    "noise_stdev": Rule("strategy.sigma", number),
    "noise_size": Rule("noise.size", whole),
    "seed": Rule("seed", whole),
    "horizon": Rule("task.max_steps", whole),
    "env_config": Rule("task.env_kwargs"),
}
OF_ES = {
    "action_noise_std": Rule("task.action_noise", number),
    "episodes_per_batch": Rule("strategy.population_size", even),
    "train_batch_size": Rule("strategy.timesteps_per_generation", whole),
    "stepsize": Rule("strategy.learning_rate", number),
    "l2_coeff": Rule("strategy.l2_coeff", number),
}
OF_ARS = {
    "sgd_stepsize": Rule("strategy.learning_rate", number),
    "offset": Rule("task.reward_shift", number),
}
REWARD = "the mean return that ends it"
STOP = {
    "stop.episode_reward_mean": Rule("target_fitness", number, REWARD),
    "stop.sampler_results/episode_reward_mean": Rule("target_fitness", number, REWARD),
    "stop.env_runners/episode_return_mean": Rule("target_fitness", number, REWARD),
    "stop.timesteps_total": Rule("total_timesteps", whole),
    "stop.num_env_steps_sampled_lifetime": Rule("total_timesteps", whole),
    "stop.training_iteration": Rule("generations", whole),
    "stop.time_total_s": Rule("max_seconds", number),
}
WHERE = "where it ran: workers says it here, and the result does not depend on it"
MEANINGLESS = {
    "framework": "policies are torch modules",
    "use_pytorch": "policies are torch modules",
    "tf_single_threaded": "policies are torch modules",
    "num_workers": WHERE,
    "num_rollout_workers": WHERE,
    "num_env_runners": WHERE,
    "num_envs_per_worker": WHERE,
    "num_gpus": WHERE,
    "num_cpus_per_worker": WHERE,
    "log_level": "logging",
    "report_length": "logging: over how many evaluations a mean is taken",
}
PLACES = ("resources", "trial_resources", "resources_per_trial")


def positive(value: Any) -> int:
    """A whole number above 0.

    Raises:
        ValueError: It is none.
    """
    if (found := whole(value)) < 1:
        raise ValueError("it must be at least 1")
    return found


def translate(given: dict[str, Any], source: str) -> Translation:
    """Translates one experiment.

    Args:
        given: `{env, run, stop, config}`, or a flat configuration, which is one of ES.
        source: The library's name.
    """
    given = dict(given)
    wrong = given.pop("config") if not isinstance(given.get("config"), dict | None) else None
    inner = dict(given.pop("config", None) or {})
    clash = sorted(inner.keys() & given.keys())
    translation = Translation(source, {**inner, **given}, opaque=("env_config",))
    if wrong is not None:
        translation.refuse("config", wrong, "it must be a mapping")
    for key in clash:
        translation.refuse(key, inner[key], "it stands within config and beside it")
    algorithm = str(translation.take("run", translation.take("alg", "ES")))
    if algorithm not in ("ES", "ARS"):
        translation.refuse("run", algorithm, "distes has their ES and ARS")
        return translation
    _refuse_searches(translation)
    _rename(translation, algorithm)
    defaults = ES if algorithm == "ES" else ARS
    translation.choose("strategy", "OpenAIES" if algorithm == "ES" else "ARS", f"run: {algorithm}")
    _environment(translation)
    _policy(translation)
    translation.with_defaults(defaults)
    members = _members(translation, algorithm)
    translation.apply({**EVERY, **(OF_ES if algorithm == "ES" else OF_ARS), **STOP}, MEANINGLESS)
    for place in PLACES:
        translation.leave_section(place, WHERE)
    translation.leave("action_noise_std", "their ARS never adds it")
    _normalisation(translation)
    chance = translation.take("eval_prob", 0.03, probability)
    said = translation.was("eval_prob", note=f"of {members:,} episodes, and at least one")
    translation.set("eval_episodes", max(1, round(chance * members)), said)
    if "target_fitness" not in translation.values:
        translation.set("target_fitness", math.inf, "stop names no return")
    return translation


def _refuse_searches(translation: Translation) -> None:
    for key in translation.unread():
        if key.endswith(".grid_search") or key == "grid_search":
            translation.refuse(key, translation.take(key), "a search, as distes sweep does one: give one value")


def _rename(translation: Translation, algorithm: str) -> None:
    """Reads keys by the names of RLlib's last version."""
    for old, new in OLD_NAMES.items():
        translation.rename(old, new)
    if algorithm == "ARS":
        translation.rename("stepsize", "sgd_stepsize")


def _environment(translation: Translation) -> None:
    given = translation.take("env")
    game = atari_game(given) if isinstance(given, str) else None
    if game:
        set_atari(translation, "env", game)
    else:
        set_environment(translation, "env", given)


def _policy(translation: Translation) -> None:
    kind = translation.take("policy_type", None)
    hidden = translation.take("model.fcnet_hiddens", [256, 256])
    activation = translation.take("model.fcnet_activation", "tanh")
    if kind is not None and str(kind).startswith("Linear"):
        hidden = []
        said = translation.was("policy_type")
    else:
        said = translation.was("model.fcnet_hiddens")
    if not hidden:
        translation.choose("policy", "Linear", said)
        translation.set("policy.initial_scale", 0.01, "small, as their initial weights")
        return
    translation.choose("policy", "MLP", said)
    translation.set("policy.hidden_sizes", hidden, said)
    translation.set("policy.activation", activation, translation.was("model.fcnet_activation"))
    translation.set("policy.init", "normc", "their initial weights")
    translation.set("policy.output_scale", 0.01, "their initial weights")


def _members(translation: Translation, algorithm: str) -> int:
    """Sets the number of members of ARS, and returns how many episodes a generation has."""
    if algorithm == "ES":
        try:
            return even(translation.peek("episodes_per_batch"))
        except REFUSALS:  # refused where the key is read
            return 0
    rollouts, used = (translation.take(key, ARS[key], positive) for key in ("num_rollouts", "rollouts_used"))
    members = even(rollouts)
    note = "theirs counts episodes, two for each direction"
    translation.set("strategy.population_size", members, translation.was("num_rollouts", note=note))
    top = max(1, round(members / 2 * min(1.0, used / rollouts)))
    translation.set(
        "strategy.top_directions", top, translation.was("rollouts_used", note="the same share of directions")
    )
    return members


def _normalisation(translation: Translation) -> None:
    name = translation.take("observation_filter")
    if name not in ("MeanStdFilter", "ConcurrentMeanStdFilter", "NoFilter"):
        translation.refuse("observation_filter", name, "it is MeanStdFilter or NoFilter")
    said = translation.was("observation_filter")
    translation.set("task.normalize_observations", name != "NoFilter", said)
    if name != "NoFilter":
        translation.set("task.observation_fraction", 1.0, said)
