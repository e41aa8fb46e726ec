"""JSON of Uber's deep-neuroevolution, for its code on GPUs: evolution strategies, genetic algorithm, random search."""

from typing import Any

from distes.api.translation.environment_ids import capitalised, set_atari, set_environment
from distes.api.translation.openai_json import NOISE_TABLE, episode_cutoff
from distes.api.translation.optimizers import set_optimizer
from distes.api.translation.readings import even, number, text, whole
from distes.api.translation.translated import Rule, Translation

EVERY = {
    "population_size": Rule("strategy.population_size", even),
    "timesteps": Rule("total_timesteps", whole),
    "num_test_episodes": Rule("final_episodes", whole),
}
SELECTING = {
    "num_validation_episodes": Rule("strategy.validation_episodes", whole),
    "validation_threshold": Rule("strategy.candidates", whole),
}
DQN = {"channels": [32, 64, 64], "kernels": [8, 4, 3], "strides": [4, 2, 1], "hidden_size": 512}
SMALL = {"channels": [16, 32], "kernels": [8, 4], "strides": [4, 2], "hidden_size": 256}
PLAIN = {"padding": "same", "init": "normc", "output_scale": 0.1}
VIRTUAL = {"padding": "same", "normalization": "virtual_batch", "output_scale": 0.1}
# Their networks: class, and arguments.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Model": ("CNN", {**SMALL, **PLAIN}),
    "LargeModel": ("CNN", {**DQN, **PLAIN}),
    "ModelVirtualBN": ("CNN", {**SMALL, **VIRTUAL}),
    "SimpleClassifier": (
        "MLP",
        {"hidden_sizes": [16, 16], "activation": "relu", "init": "normc", "output_scale": 0.1},
    ),
    "LinearClassifier": ("Linear", {}),
}


def translate(given: dict[str, Any], source: str) -> Translation:
    """Translates such a file.

    Args:
        given: The file's content.
        source: The library's name.
    """
    translation = Translation(source, given, opaque=("mutation_power",))
    game = translation.take("game")
    name = capitalised(game) if isinstance(game, str) else None
    if isinstance(game, str) and game.startswith("gym."):
        set_environment(translation, "game", game.removeprefix("gym."))
    elif name:
        set_atari(translation, "game", name)
    else:
        translation.refuse("game", game, "it is the name of an Atari game, or gym. and an id")
    episode_cutoff(translation, "episode_cutoff_mode")
    _network(translation)
    translation.apply(EVERY, {})
    if translation.has("optimizer.type"):
        _evolution_strategies(translation)
    else:
        _selection(translation)
    translation.set("noise.size", *NOISE_TABLE)
    translation.set("target_fitness", float("inf"), "their code sets no target")
    return translation


def _network(translation: Translation) -> None:
    model = translation.take("model", "", text)
    said = translation.was("model")
    if model not in MODELS:
        translation.refuse("model", model, f"distes has {', '.join(MODELS)}")
        return
    name, arguments = MODELS[model]
    translation.choose("policy", name, said)
    for key, value in arguments.items():
        translation.set(f"policy.{key}", value, "their network")


def _power(translation: Translation, *, scheduled: bool) -> None:
    power = translation.take("mutation_power")
    if isinstance(power, dict):
        reason = "schedules over steps have no counterpart; strategy.sigma takes schedules over generations"
        translation.refuse("mutation_power", power, reason if scheduled else "DeepGA's sigma stays the same")
    elif scheduled or translation.classes["strategy"].value == "DeepGA":
        try:
            translation.set("strategy.sigma", number(power), translation.was("mutation_power"))
        except ValueError as error:
            translation.refuse("mutation_power", power, f"{error}")


def _evolution_strategies(translation: Translation) -> None:
    translation.choose("strategy", "OpenAIES", "the algorithm: es, since there is an optimizer")
    _power(translation, scheduled=True)
    translation.apply({"l2coeff": Rule("strategy.l2_coeff", number)}, {})
    mode = translation.take("return_proc_mode", "centered_rank")
    translation.set("strategy.fitness_shaping", mode, translation.was("return_proc_mode"))
    if mode != "centered_rank":
        translation.refuse("return_proc_mode", mode, "their code on GPUs has centered_rank alone")
    translation.apply({"num_validation_episodes": Rule("eval_episodes", whole)}, {})
    set_optimizer(translation)
    translation.only("load_from", (None,), "distes reads no policies of theirs")


def _selection(translation: Translation) -> None:
    parents = translation.take("selection_threshold", 0)
    said = translation.was("selection_threshold")
    if parents:
        translation.choose("strategy", "DeepGA", "the algorithm: ga, since there are parents")
        translation.set("strategy.parents", parents, said)
        _power(translation, scheduled=False)
    else:
        translation.choose("strategy", "RandomSearch", f"the algorithm: rs, since there are no parents; {said}")
        translation.leave("mutation_power", "random search has no mutations")
    translation.apply(SELECTING, {})
    translation.only("load_population", (None,), "distes reads no populations of theirs")
