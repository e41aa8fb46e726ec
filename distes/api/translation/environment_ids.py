"""Ids of environments: today's for those that no longer exist, and the preprocessing of Atari games."""

import re

from distes.api.translation.translated import Translation

# Tasks of MuJoCo; of some, v2 and v3 are still registered, and refuse to be made.
MUJOCO = [
    "Ant",
    "HalfCheetah",
    "Hopper",
    "Humanoid",
    "HumanoidStandup",
    "InvertedDoublePendulum",
    "InvertedPendulum",
    "Pusher",
    "Reacher",
    "Swimmer",
    "Walker2d",
]
# The versions that exist today of other environments.
TODAY = {
    "Acrobot": 1,
    "BipedalWalker": 3,
    "BipedalWalkerHardcore": 3,
    "CarRacing": 3,
    "LunarLander": 3,
    "LunarLanderContinuous": 3,
    "MountainCar": 0,
    "MountainCarContinuous": 0,
    "Pendulum": 1,
}
# PyBullet's environments, whose simulator Gymnasium does not have.
BULLET = {
    "AntBulletEnv-v0": "Ant-v5",
    "HalfCheetahBulletEnv-v0": "HalfCheetah-v5",
    "HopperBulletEnv-v0": "Hopper-v5",
    "HumanoidBulletEnv-v0": "Humanoid-v5",
    "InvertedDoublePendulumBulletEnv-v0": "InvertedDoublePendulum-v5",
    "InvertedPendulumBulletEnv-v0": "InvertedPendulum-v5",
    "ReacherBulletEnv-v0": "Reacher-v5",
    "Walker2DBulletEnv-v0": "Walker2d-v5",
}
ATARI = re.compile(r"(?:ale_py:)?(?:ALE/)?([A-Za-z0-9]+?)(?:NoFrameskip|Deterministic)?-v[045]")
GAMES = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
RAM = "distes.envs.ram_info.RamInfo"


def today(given: str) -> tuple[str, str]:
    """Returns the id of an environment as it is called today, and what to say about it; empty where it is the same.

    Args:
        given: Their id, such as `Humanoid-v1`.
    """
    if given in BULLET:
        return BULLET[given], "no longer exists: MuJoCo's task in place of PyBullet's, whose rewards differ"
    name, _, version = given.rpartition("-v")
    if name in MUJOCO and version in ("0", "1", "2", "3"):
        return f"{name}-v5", "no longer exists: v5, whose observations and rewards differ a little"
    if name in TODAY and version.isdigit() and int(version) < TODAY[name]:
        return f"{name}-v{TODAY[name]}", "no longer exists"
    return given, ""


def set_environment(translation: Translation, key: str, given: object) -> None:
    """Sets `task.env`. The key has been read.

    Args:
        translation: What the id belongs to.
        key: Their key.
        given: Their id.
    """
    if not isinstance(given, str) or not given:
        translation.refuse(key, given, "an environment is named by its id")
        return
    env, note = today(given)
    translation.set("task.env", env, translation.was(key, note=note))


def set_atari(translation: Translation, key: str, game: str, *, behaviour: bool = False) -> None:
    """Sets an Atari game with the preprocessing of OpenAI's and Uber's code. The key has been read.

    Up to 30 no-ops, every fourth frame, the larger of the last two, fire to start, 84 x 84 grey, four frames stacked.

    Args:
        translation: What the game belongs to.
        key: Their key.
        game: The game's name in Gymnasium, such as `Frostbite`.
        behaviour: Whether novelty compares the game's RAM at the end.
    """
    said = translation.was(key)
    translation.set("task.env", f"ale_py:{game}NoFrameskip-v4", said)
    wrappers = [
        {
            "class_path": "gymnasium.wrappers.AtariPreprocessing",
            "init_args": {"noop_max": 30, "frame_skip": 4, "screen_size": 84, "grayscale_obs": True},
        },
        "distes.envs.fire_reset.FireReset",
        *([RAM] if behaviour else []),
        {"class_path": "gymnasium.wrappers.FrameStackObservation", "init_args": {"stack_size": 4}},
    ]
    translation.set("task.wrappers", wrappers, "the preprocessing of their code")
    translation.set("task.slots", 16, "images need memory")
    if behaviour:
        translation.set("task.behaviour", "info:ram", "what their novelty compares: the RAM at the end")


def atari_game(given: str) -> str | None:
    """The name of an Atari game from an id such as `FrostbiteNoFrameskip-v4`; None if it is no such id."""
    found = ATARI.fullmatch(given)
    return found[1] if found and "NoFrameskip" in given else None


def capitalised(game: str) -> str | None:
    """The name of an Atari game in Gymnasium, from `montezuma_revenge`; None if it is no such name."""
    return "".join(word.capitalize() for word in game.split("_")) if GAMES.fullmatch(game) else None
