"""Countdown for a tiny language model: prompts, the reward of an answer, and a model with a latent skill.

    task:
      class_path: Language
      init_args:
        prompts: distes.tasks.language.countdown.train_prompts
        test_prompts: distes.tasks.language.countdown.test_prompts
        reward: distes.tasks.language.countdown.reward
        scores: [exact, well_formed]
        max_new_tokens: 6
    policy:
      class_path: CausalLM
      init_args:
        path: distes.tasks.language.countdown.tiny_model

A prompt such as `3 5 7 = 22 =` gives three numbers and a target; a right answer is `3 * 5 + 7`. Whole multisets of
numbers are held out for testing: no order of their numbers occurs in a training prompt, nor did the tiny model see one.
"""

import re
from collections.abc import Mapping
from typing import Any

from distes.tasks.language.countdown.game import digest, multisets, orderings, solutions, value
from distes.tasks.language.countdown.model import tiny_model

__all__ = ["reward", "test_prompts", "tiny_model", "train_prompts"]

FORM_REWARD = 0.1
NUMBER = "[0-9]{1,9}"
EXPRESSION = re.compile(rf"\s*{NUMBER}(\s*[-+*]\s*{NUMBER})*\s*")


def train_prompts() -> tuple[dict[str, Any], ...]:
    """Returns the prompts for training: each order of each training multiset, with each target that can be reached.

    Returns:
        Mappings with `prompt`, `numbers` and `target`, in a fixed order in which neighbours have nothing in common.
    """
    return _prompts(held_out=False)


def test_prompts() -> tuple[dict[str, Any], ...]:
    """Returns the prompts of the held-out multisets, in the form of `train_prompts`."""
    return _prompts(held_out=True)


test_prompts.__test__ = False  # type: ignore[attr-defined]  # pytest: no test


def reward(prompt: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Returns the reward of an answer: 1 for a solution, 0.1 for another expression, and 0 for anything else.

    Args:
        prompt: With `numbers`, a list of numbers, and `target`.
        answer: The text that the model has written. Spaces in it do not matter.

    Returns:
        `reward`; `exact`, 1 if the answer is an expression of the target in which each number occurs once, else 0; and
        `well_formed`, 1 if it consists of as many numbers as the prompt, with operators between them, else 0.
    """
    exact = form = False
    if EXPRESSION.fullmatch(answer):
        numbers = [int(number) for number in re.findall(NUMBER, answer)]
        form = len(numbers) == len(prompt["numbers"])
        if form and sorted(numbers) == sorted(prompt["numbers"]):
            exact = value(numbers, re.findall("[-+*]", answer)) == prompt["target"]
    return {"reward": 1.0 if exact else FORM_REWARD if form else 0.0, "exact": float(exact), "well_formed": float(form)}


def _prompts(held_out: bool) -> tuple[dict[str, Any], ...]:
    prompts = (
        {"prompt": f"{a} {b} {c} = {target} =", "numbers": [a, b, c], "target": target}
        for multiset in multisets(held_out)
        for target in sorted(solutions(multiset))
        for a, b, c in orderings(multiset)
    )
    return tuple(sorted(prompts, key=digest))
