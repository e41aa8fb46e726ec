"""JSON of OpenAI's evolution-strategies-starter and of Uber's deep-neuroevolution, for its code on CPUs."""

from typing import Any

from distes.api.translation.environment_ids import atari_game, set_atari, set_environment
from distes.api.translation.optimizers import set_optimizer
from distes.api.translation.readings import even, number, probability, text, whole
from distes.api.translation.translated import LeftOut, Rule, Translation

# What both read, whatever the algorithm; population_size of the genetic algorithm is another key of the file.
EVERY = {
    "config.episodes_per_batch": Rule("strategy.population_size", even),
    "config.noise_stdev": Rule("strategy.sigma", number),
    "config.snapshot_freq": Rule("keep_checkpoints_every", lambda value: whole(value) or None),
}
GRADIENT = {
    "config.timesteps_per_batch": Rule("strategy.timesteps_per_generation", whole),
    "config.l2coeff": Rule("strategy.l2_coeff", number),
}
NOVELTY = {
    "novelty_search.k": Rule("strategy.neighbours", whole),
    "novelty_search.population_size": Rule("strategy.agents", whole),
    "novelty_search.num_rollouts": Rule("strategy.rollouts", whole),
}
SELECTION = {"novelty_prob": "novelty", "round_robin": "round_robin"}
MEANINGLESS = {"exp_prefix": "a name for logs, as run_dir is here"}
GENETIC = {
    "config.l2coeff": "the genetic algorithm does not read it",
    "config.return_proc_mode": "the genetic algorithm does not read it",
    "config.timesteps_per_batch": "population_size counts here; theirs goes on until there are as many steps, too",
    "optimizer.type": "the genetic algorithm has none",
    "optimizer.args.stepsize": "the genetic algorithm has none",
}
ACTIVATIONS = ("tanh", "relu", "elu")
NOISE_TABLE = (250_000_000, "the noise table of their code")
SHAPINGS = ("centered_rank", "centered_sign_rank", "sign")


def translate(given: dict[str, Any], source: str) -> Translation:
    """Translates a file of either.

    Args:
        given: The file's content.
        source: The library's name.
    """
    translation = Translation(source, given)
    policy = given.get("policy")
    genetic = translation.has("num_elites") or (isinstance(policy, dict) and policy.get("type") == "GAAtariPolicy")
    algorithm = translation.take("algo_type", "ga" if genetic else "es", text)
    names = {"es": "OpenAIES", "ga": "DeepGA", "ns": "NSES", "nsr": "NSRES"}
    if algorithm not in names:
        translation.refuse("algo_type", algorithm, f"it is one of {', '.join(names)}")
        algorithm = "es"
    translation.choose("strategy", names[algorithm], f"the algorithm: {algorithm}")
    novelty = algorithm in ("ns", "nsr")
    _environment(translation, novelty=novelty)
    _policy(translation)
    _shared(translation)
    if genetic:
        _genetic(translation)
    else:
        translation.apply(GRADIENT, {})
        _fitness_shaping(translation, novelty=novelty)
        set_optimizer(translation)
    if novelty:
        _novelty(translation)
    translation.apply({}, MEANINGLESS)
    translation.set("noise.size", *NOISE_TABLE)
    translation.set("target_fitness", float("inf"), "their code sets no target, and ends only where it is stopped")
    return translation


def episode_cutoff(translation: Translation, key: str) -> None:
    """Reads a limit of episodes: a number of steps, `env_default`, or `adaptive:...`.

    Args:
        translation: What the key belongs to.
        key: Its name.
    """
    value = translation.take(key, "env_default")
    if isinstance(value, int) and not isinstance(value, bool):
        translation.set("task.max_steps", value, translation.was(key))
    elif isinstance(value, str) and value.startswith("adaptive:"):
        translation.set("task.episode_cap", value, translation.was(key))
    elif value != "env_default":
        translation.refuse(key, value, "it is a number of steps, env_default, or adaptive:START,FRACTION,RATIO[,MOST]")


def _environment(translation: Translation, *, novelty: bool) -> None:
    given = translation.take("env_id")
    game = atari_game(given) if isinstance(given, str) else None
    if game:
        set_atari(translation, "env_id", game, behaviour=novelty)
    else:
        set_environment(translation, "env_id", given)
        if novelty:
            said = "what their novelty compares: where the body ends"
            translation.set("task.behaviour", ["info:x_position", "info:y_position"], said)
    episode_cutoff(translation, "config.episode_cutoff_mode")


def _policy(translation: Translation) -> None:
    kind = translation.take("policy.type", "MujocoPolicy")
    said = translation.was("policy.type")
    if kind == "MujocoPolicy":
        translation.choose("policy", "MLP", said)
        _mujoco_policy(translation)
    elif kind in ("ESAtariPolicy", "GAAtariPolicy"):
        translation.choose("policy", "CNN", said)
        translation.set("policy.channels", [16, 32], "their network")
        translation.set("policy.kernels", [8, 4], "their network")
        translation.set("policy.strides", [4, 2], "their network")
        translation.set("policy.hidden_size", 256, "their network")
        translation.set("policy.padding", "same", "TensorFlow's, as in their network")
        if kind == "ESAtariPolicy":
            translation.set("policy.normalization", "virtual_batch", "their network")
            translation.set("policy.output_scale", 1.0, "their network")
        else:
            translation.set("policy.init", "normc", "their network")
            scale = translation.take("policy.args.ac_init_std", 0.1)
            translation.set("policy.output_scale", scale, translation.was("policy.args.ac_init_std"))
            translation.only("policy.args.nonlin_type", ("relu",), "CNN's activation is relu")
    else:
        translation.refuse("policy.type", kind, "it is MujocoPolicy, ESAtariPolicy or GAAtariPolicy")
    translation.only("policy.init_from", (None,), "distes reads no policies of theirs")
    translation.leave("policy.args", "there are none")


def _mujoco_policy(translation: Translation) -> None:
    bins = translation.take("policy.args.ac_bins", "continuous:")
    if bins != "continuous:":
        translation.set("task.action_bins", bins, translation.was("policy.args.ac_bins"))
    activation = translation.take("policy.args.nonlin_type", "tanh")
    if activation in ACTIVATIONS:
        translation.set("policy.activation", activation, translation.was("policy.args.nonlin_type"))
    else:
        translation.refuse("policy.args.nonlin_type", activation, f"MLP has {', '.join(ACTIVATIONS)} and silu")
    rules = {
        "policy.args.hidden_dims": Rule("policy.hidden_sizes"),
        "policy.args.ac_noise_std": Rule("task.action_noise", number),
    }
    translation.apply(rules, {})
    translation.only("policy.args.connection_type", ("ff",), "only ff, feed-forward, is released")
    translation.set("policy.init", "normc", "their initial weights")
    translation.set("policy.output_scale", 0.01, "their initial weights")


def _shared(translation: Translation) -> None:
    translation.apply(EVERY, {})
    chance = translation.take("config.calc_obstat_prob", 0.0, probability)
    said = translation.was("config.calc_obstat_prob")
    translation.set("task.normalize_observations", chance != 0, said)
    if chance:
        translation.set("task.observation_fraction", chance, said)
    chance = translation.take("config.eval_prob", 0.0, probability)
    counted = translation.values.get("strategy.population_size")
    members = counted.value if counted else 0
    said = translation.was("config.eval_prob", note=f"of {members:,} episodes")
    translation.set("eval_episodes", round(chance * members), said)


def _genetic(translation: Translation) -> None:
    parents, elites = translation.take("population_size"), translation.take("num_elites", 1)
    translation.set("strategy.parents", parents, translation.was("population_size"))
    if elites != 1:
        translation.refuse("num_elites", elites, "DeepGA keeps one elite")
    note = "the elite keeps its first score, as in their code on CPUs"
    translation.set("strategy.candidates", 1, translation.was("num_elites", note=note))
    translation.set("strategy.validation_episodes", 0, note)
    translation.apply({}, GENETIC)


def _fitness_shaping(translation: Translation, *, novelty: bool) -> None:
    key = "config.return_proc_mode"
    mode = translation.take(key, "centered_rank")
    if mode not in SHAPINGS:
        translation.refuse(key, mode, f"it is one of {', '.join(SHAPINGS)}")
    elif novelty and mode != "centered_sign_rank":
        translation.refuse(key, mode, "with novelty it is centered_sign_rank, which stands for ranks of novelty")
    elif not novelty and mode == "sign":
        translation.set("strategy.fitness_shaping", "raw", translation.was(key))
        translation.set("task.reward_sign", True, translation.was(key, note="sums of the rewards' signs"))
    elif not novelty:
        translation.set("strategy.fitness_shaping", mode, translation.was(key))
    else:
        said = "it stands for ranks of novelty, which the strategy takes anyway"
        translation.left_out.append(LeftOut(key, mode, said))


def _novelty(translation: Translation) -> None:
    translation.apply(NOVELTY, {})
    key = "novelty_search.selection_method"
    method = translation.take(key, "novelty_prob", text)
    if method in SELECTION:
        translation.set("strategy.selection", SELECTION[method], translation.was(key))
    else:
        translation.refuse(key, method, f"it is one of {', '.join(SELECTION)}")
