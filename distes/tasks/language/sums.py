"""Sums of two digits for a chat model that can add, and that does not answer with the number alone.

The reward has no gradient: a text is right or wrong. Whole pairs of digits are held out, in all wordings.
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
    """Rewards the bare number with 1, and an answer that ends with it with 0.5.

    For each character beyond three, 0.04 is taken, at most 0.4: so there is a way from a sentence to a number, and two
    wrong answers differ, too.

    Args:
        prompt: With the sum as `target`.
        answer: What the model says.

    Returns:
        `reward`; `exact`, 1 for the bare number; `right`, 1 where the last number is the sum.
    """
    said, numbers = answer.strip(), NUMBER.findall(answer)
    right = bool(numbers) and numbers[-1] == str(prompt["target"])
    exact = said in (str(prompt["target"]), f"{prompt['target']}.")
    graded = 1.0 if exact else 0.5 if right else 0.0
    return {"reward": graded - 0.04 * min(10, max(0, len(said) - 3)), "exact": float(exact), "right": float(right)}


def _prompts(*, held_out: bool) -> list[dict[str, Any]]:
    pairs = [(a, b) for a in range(1, 10) for b in range(1, 10)]
    chosen = [pair for place, pair in enumerate(pairs) if (place % HELD_OUT == 1) == held_out]
    return [{"prompt": wording.format(a=a, b=b), "target": a + b} for a, b in chosen for wording in WORDINGS]
