"""Starts Atari games that wait for the fire button, as OpenAI's baselines and Uber's deep-neuroevolution do."""

from typing import Any

import gymnasium

FIRE = 1  # the button among an Atari game's actions
FIRST = (FIRE, 2)  # actions after a reset


class FireReset(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes the actions 1, which is fire, and 2 after each reset. A game without fire starts as it is.

    Wrapped around `AtariPreprocessing`, each of them lasts four frames.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        """Looks for the fire button.

        Args:
            env: An Atari game, wrapped or not.

        Raises:
            ValueError: It is no Atari game.
        """
        super().__init__(env)
        meanings = getattr(env.unwrapped, "get_action_meanings", None)
        if meanings is None:
            raise ValueError(f"FireReset is for Atari games; got {type(env.unwrapped).__name__}")
        named = meanings()
        self._waits = len(named) > max(FIRST) and named[FIRE] == "FIRE"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode; returns what is seen after the first actions."""
        observation, info = self.env.reset(seed=seed, options=options)
        for action in FIRST if self._waits else ():
            observation, _, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                observation, info = self.env.reset()
        return observation, info
