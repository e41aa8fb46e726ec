"""Prompts as tokens, and answers as texts. Axes: K prompts, N tokens of an answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError, raised
from distes.policies.language.causal_lm import CausalLM
from distes.tasks.language.prompts.texts import pieces

PIECE, PIECES = 128, 32  # tokens of a piece of text, and the most pieces whose perplexity is measured


class Tokens:
    """Translates between a language model's tokens and texts, and keeps what it has translated.

    Attributes:
        ends: The tokens that end an answer.
        pad: The token that fills up rows: the tokenizer's, or else the first that ends an answer.
    """

    def __init__(self, policy: CausalLM, *, chat_template: bool, system: str | None) -> None:
        """Loads the tokenizer of the policy.

        Args:
            policy: The language model.
            chat_template: Whether a `prompt` is put into the chat template, as a message of the user.
            system: A system message that begins each chat, or None.
        """
        self._tokenizer, self._chat, self._system = policy.tokenizer, chat_template, system
        self.ends = ends_of(policy)
        pad = self._tokenizer.pad_token_id
        self.pad = int(pad if pad is not None else self.ends[0] if self.ends else 0)
        self._known: dict[str, tuple[int, ...]] = {}

    def prompt(self, row: Mapping[str, Any]) -> tuple[int, ...]:
        """Returns the tokens of a prompt, after which the answer begins.

        Raises:
            ConfigurationError: It has none, or the tokenizer has no chat template for it.
        """
        text = self.text(row)
        if text not in self._known:
            # A chat template writes the special tokens itself.
            tokens = self._tokenizer.encode(text, add_special_tokens=not self._is_chat(row))
            if not tokens:
                raise ConfigurationError(f"prompts: {text!r} has no token.", argument="prompts")
            self._known[text] = tuple(map(int, tokens))
        return self._known[text]

    def text(self, row: Mapping[str, Any]) -> str:
        """Returns a prompt as the model sees it.

        Raises:
            ConfigurationError: It is a chat, and the tokenizer has no template, or one that refuses it.
        """
        if not self._is_chat(row):
            return str(row["prompt"])
        messages = list(row.get("messages") or [{"role": "user", "content": row["prompt"]}])
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:
            raise ConfigurationError(
                f"prompts: the tokenizer's chat template cannot write {str(messages)[:200]}: it {raised(error)}. Give "
                "a model with a chat template, or prompts as plain text and --task.chat_template false.",
                argument="prompts",
            ) from error

    def pieces(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Returns texts as pieces of tokens, each of which the model reads by itself."""

        def tokenize(text: str) -> list[int]:
            return list(self._tokenizer.encode(text, add_special_tokens=False))

        return pieces(texts, tokenize, PIECE, most=PIECES * PIECE, start=self._tokenizer.bos_token_id)

    def answers(self, tokens_KN: NDArray[np.int64], lengths_K: NDArray[np.int64]) -> list[str]:
        """Returns answers as texts, without special tokens."""
        rows: Sequence[list[int]] = [row[:length].tolist() for row, length in zip(tokens_KN, lengths_K, strict=True)]
        return list(self._tokenizer.batch_decode(rows, skip_special_tokens=True))

    def _is_chat(self, row: Mapping[str, Any]) -> bool:
        return self._chat or "messages" in row


def ends_of(policy: CausalLM) -> tuple[int, ...]:
    """Returns the tokens that end an answer: those of the model's generation settings, and the tokenizer's."""
    settings = getattr(policy.model, "generation_config", None)
    found = getattr(settings, "eos_token_id", None)
    ends = list(found) if isinstance(found, list | tuple) else [found]
    ends.append(policy.tokenizer.eos_token_id)
    return tuple(sorted({int(end) for end in ends if end is not None}))
