"""How a language model is asked, and how it answers: the form of prompts, and which token comes next.

Axes: B members evaluated together, K prompts, T tokens of a prompt, N tokens of an answer.
"""

from collections.abc import Sequence
from typing import Any

from distes.errors import ConfigurationError
from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM
from distes.tasks.base import Request
from distes.tasks.language.cache_size import at_once
from distes.tasks.language.examined import Asked
from distes.tasks.language.generation import Answers, Decoding, Padded, generate
from distes.tasks.language.prompts.rows import Row, excerpt
from distes.tasks.language.tokens import Tokens

PROMPTS_AT_ONCE = 256  # of a held-out part; fixed, since last bits depend on a batch's size


class Answering:
    """Lets members answer prompts.

    Attributes:
        max_new_tokens: Tokens after which an answer is cut.
        temperature: Of drawn tokens; 0 takes the most probable one.
        chat_template: Whether a `prompt` is put into the model's chat template.
        system: A system message before each chat, or None.
    """

    def __init__(self, max_new_tokens: int, temperature: float, *, chat_template: bool, system: str | None) -> None:
        """Loads nothing yet.

        Args:
            max_new_tokens: Tokens after which an answer is cut.
            temperature: Of drawn tokens; 0 takes the most probable one.
            chat_template: Whether a `prompt` is put into the model's chat template; `messages` always are.
            system: A system message before each chat, or None.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        if max_new_tokens < 1:
            raise ConfigurationError(
                f"max_new_tokens must be at least 1; got {max_new_tokens}.", argument="max_new_tokens"
            )
        if not 0 <= temperature < float("inf"):
            raise ConfigurationError(f"temperature must be 0 or more; got {temperature}.", argument="temperature")
        self.max_new_tokens, self.temperature = max_new_tokens, temperature
        self.chat_template, self.system = chat_template, system
        self._tokens: Tokens | None = None  # each process loads the tokenizer for itself

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tokens": None}

    def with_decoding(self, max_new_tokens: int | None = None, temperature: float | None = None) -> "Answering":
        """Returns a copy with another decoding; None leaves what there is.

        Raises:
            ConfigurationError: A number is out of its range.
        """
        made = Answering(
            self.max_new_tokens if max_new_tokens is None else max_new_tokens,
            self.temperature if temperature is None else temperature,
            chat_template=self.chat_template,
            system=self.system,
        )
        made._tokens = self._tokens
        return made

    def tokens(self, policy: CausalLM) -> Tokens:
        """Returns what translates between the model's tokens and texts."""
        if self._tokens is None:
            self._tokens = Tokens(policy, chat_template=self.chat_template, system=self.system)
        return self._tokens

    def check_lengths(self, policy: CausalLM, rows: Sequence[Row]) -> None:
        """Checks that prompts and their answers fit into the model's context.

        Raises:
            ConfigurationError: One does not.
        """
        tokens = self.tokens(policy)
        most = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
        lengths = [len(tokens.prompt(row)) for row in rows]
        longest = max(lengths, default=0)
        if most is not None and longest + self.max_new_tokens > most:
            too_long = sum(length + self.max_new_tokens > most for length in lengths)
            raise ConfigurationError(
                f"task.max_new_tokens is {self.max_new_tokens}, and the longest prompt, "
                f"{excerpt(rows[lengths.index(longest)])}, has {longest} tokens: together more than the {most} that "
                f"{type(policy.model).__name__} takes; {too_long:,} of {len(rows):,} prompts do not fit. Shorten them "
                "or the answers, or leave these prompts out."
            )

    def decoding(self, policy: CausalLM, most: int | None = None) -> Decoding:
        """Returns how the next token is chosen, and when an answer ends.

        Args:
            policy: The language model.
            most: Tokens after which answers are cut even if `max_new_tokens` is more.
        """
        tokens, new = self.tokens(policy), self.max_new_tokens
        return Decoding(new if most is None else min(new, most), tokens.ends, tokens.pad, self.temperature)

    def generate(self, members: Members, asked_bK: Asked, request: Request) -> Answers:
        """Lets members answer prompts at once.

        Args:
            members: B members.
            asked_bK: The prompts of each member, or the prompts that all see, (1, K).
            request: As a task's `evaluate` takes it.
        """
        policy = language_model(members)
        tokens = self.tokens(policy)
        prompts = Padded.of([[tokens.prompt(row) for row in asked_K] for asked_K in asked_bK], tokens.pad)
        return generate(
            members,
            prompts,
            self.decoding(policy),
            at_once=at_once(members, prompts.tokens_bKT.shape[1:], self.max_new_tokens),
            seeds_B=request.seeds_B,
            stop=request.stop,
        )

    def texts(self, members: Members, rows: Sequence[Row], request: Request) -> list[str]:
        """Returns the answers of a single member as texts.

        Args:
            members: One member.
            rows: The prompts.
            request: As a task's `evaluate` takes it; its purpose is not looked at.
        """
        tokens, texts = self.tokens(language_model(members)), list[str]()
        for first in range(0, len(rows), PROMPTS_AT_ONCE):
            found = self.generate(members, [rows[first : first + PROMPTS_AT_ONCE]], request)
            texts += tokens.answers(found.tokens_BKN[0], found.lengths_BK[0])
        return texts


def language_model(members: Members) -> CausalLM:
    """The members' policy, which the task has checked to be a language model."""
    policy = members.policy
    assert isinstance(policy, CausalLM)
    return policy
