"""Sums of two digits, for a small chat model that can add and mostly says something else.

The reward has no gradient: an answer ends with the right number, or it does not. Whole pairs of digits are held out, in
all wordings.
"""

import re
from collections.abc import Mapping
from typing import Any

WORDINGS = (
    "What is {a} + {b}? Answer with the number only.",
    "Add {a} and {b}. Reply with just the number.",
    "{a} + {b} = ? Give only the result, no words.",
)
HELD_OUT = 3  # of pairs of digits, every third tests
NUMBER = re.compile(r"-?\d+")


def train_prompts() -> list[dict[str, Any]]:
    """Returns 162 prompts: 54 pairs of digits from 1 to 9, in three wordings."""
    return _prompts(held_out=False)


def test_prompts() -> list[dict[str, Any]]:
    """Returns the 81 prompts of the other 27 pairs."""
    return _prompts(held_out=True)


def reward(prompt: Mapping[str, Any], answer: str) -> dict[str, float]:
    """Rewards an answer whose last number is the sum.

    Args:
        prompt: With the sum as `target`.
        answer: What the model says; cut off, it seldom ends with the sum.

    Returns:
        `reward`, 1 where the last number is the sum, else 0; and `bare`, 1 where the answer is that number and no more.
    """
    target, numbers = str(prompt["target"]), NUMBER.findall(answer)
    right = bool(numbers) and numbers[-1] == target
    return {"reward": float(right), "bare": float(answer.strip().removesuffix(".") == target)}


def _prompts(*, held_out: bool) -> list[dict[str, Any]]:
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    chosen = [pair for place, pair in enumerate(pairs) if (place % HELD_OUT == 1) == held_out]
    return [{"prompt": wording.format(a=a, b=b), "target": a + b} for a, b in chosen for wording in WORDINGS]
