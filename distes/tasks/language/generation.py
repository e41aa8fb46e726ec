"""Answers of many members to many prompts, in one batch with a cache of keys and values.

A row is one prompt of one member; the rows of a member follow each other. Prompts are padded on the left, so that all
answers begin at one place. A member whose answers have all ended leaves the batch.

Axes: B members, b members that run, K prompts of a member, R rows, T tokens of a prompt, N tokens of an answer, V
entries of the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distes.members.members import Members
from distes.noise.splitmix import uniform
from distes.tasks.base import Stopped
from distes.tasks.language.decoders import Decoder, StaticDecoder
from distes.tasks.request import never

SELDOM = 16  # steps between two looks for ended answers on a GPU, which has to be waited for
FULL = 0.75  # share of running members below which ended members leave the batch


@dataclass(frozen=True, eq=False)
class Decoding:
    """How answers are chosen.

    Attributes:
        max_new_tokens: N, after which an answer is cut.
        ends: Tokens that end an answer.
        pad: The token that fills up rows.
        temperature: 0 takes the most probable token; otherwise logits are divided by it, and a token is drawn.
    """

    max_new_tokens: int
    ends: tuple[int, ...]
    pad: int
    temperature: float = 0.0


@dataclass(frozen=True, eq=False)
class Padded:
    """Prompts of equal length.

    Attributes:
        tokens_bKT: int64, padded on the left; (1, K, T) where all members see the same.
        lengths_bK: Tokens of each prompt, int64.
    """

    tokens_bKT: Tensor
    lengths_bK: Tensor

    @classmethod
    def of(cls, prompts_bK: Sequence[Sequence[Sequence[int]]], pad: int) -> "Padded":
        """Pads prompts, b times K sequences of tokens, none of them empty."""
        longest = max(len(tokens) for prompts_K in prompts_bK for tokens in prompts_K)
        shape = len(prompts_bK), len(prompts_bK[0])
        tokens_bKT, lengths_bK = np.full((*shape, longest), pad, np.int64), np.empty(shape, np.int64)
        for b, prompts_K in enumerate(prompts_bK):
            for k, tokens in enumerate(prompts_K):
                tokens_bKT[b, k, longest - len(tokens) :] = tokens
                lengths_bK[b, k] = len(tokens)
        return cls(torch.from_numpy(tokens_bKT), torch.from_numpy(lengths_bK))

    def rows(self, members: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Returns the prompts of some members as rows: tokens (R, T) and lengths (R,), on a device."""
        tokens_bKT, lengths_bK = self.tokens_bKT, self.lengths_bK
        if len(tokens_bKT) == 1:
            tokens_bKT, lengths_bK = tokens_bKT.expand(len(members), -1, -1), lengths_bK.expand(len(members), -1)
        else:
            tokens_bKT, lengths_bK = tokens_bKT[members], lengths_bK[members]
        return tokens_bKT.flatten(0, 1).to(device), lengths_bK.flatten().to(device)


@dataclass(frozen=True, eq=False)
class Answers:
    """What members answer.

    Attributes:
        tokens_BKN: int64, filled up with the padding token; an end is the last token of its answer.
        lengths_BK: Tokens of each answer, its end included, int64.
    """

    tokens_BKN: NDArray[np.int64]
    lengths_BK: NDArray[np.int64]


def generate(
    members: Members,
    prompts: Padded,
    decoding: Decoding,
    *,
    at_once: int,
    seeds_B: NDArray[np.uint64] | None = None,
    stop: Callable[[], bool] = never,
) -> Answers:
    """Lets all members answer their prompts. A member's answers do not depend on the members beside it.

    Args:
        members: B members; another selection is left behind.
        prompts: The prompts of each member, or the prompts that all see.
        decoding: How tokens are chosen.
        at_once: Members that run in one batch, as far as memory allows.
        seeds_B: For drawn tokens: one number per member. The two members of a pair draw alike.
        stop: Called between steps.

    Raises:
        Stopped: `stop` returned True.
    """
    count, (prompts_per_member, new) = len(members), (prompts.tokens_bKT.shape[1], decoding.max_new_tokens)
    tokens_BKN = np.full((count, prompts_per_member, new), decoding.pad, np.int64)
    lengths_BK = np.zeros((count, prompts_per_member), np.int64)
    for first in range(0, count, at_once):
        group = np.arange(first, min(first + at_once, count))
        drawn_RN = None
        if decoding.temperature > 0:
            assert seeds_B is not None
            keys_b = torch.from_numpy(seeds_B[group].astype(np.int64)).to(members.device)
            drawn_RN = uniform(keys_b, prompts_per_member * new).view(-1, new)
        batch = _Batch(members, group, prompts, decoding, drawn_RN)
        batch.run(stop)
        tokens_BKN[group] = batch.answers_RN.cpu().numpy().reshape(len(group), -1, new)
        lengths_BK[group] = batch.lengths_R.cpu().numpy().reshape(len(group), -1)
    return Answers(tokens_BKN, lengths_BK)


class _Batch:
    """Some members and their rows, from the prompt to the last answer's end."""

    def __init__(
        self,
        members: Members,
        group: NDArray[np.int64],
        prompts: Padded,
        decoding: Decoding,
        drawn_RN: Tensor | None,
    ) -> None:
        self._members, self._running, self._decoding, self._drawn_RN = members, group, decoding, drawn_RN
        device = members.device
        self._tokens_RT, self._lengths_R = prompts.rows(group, device)
        rows, self._width = self._tokens_RT.shape
        self._per_member = rows // len(group)
        self.answers_RN = torch.full((rows, decoding.max_new_tokens), decoding.pad, device=device)
        self.lengths_R = torch.zeros(rows, dtype=torch.int64, device=device)
        self._ends = torch.tensor(decoding.ends, device=device)
        self._at_R = torch.arange(rows, device=device)  # where the answers of the rows that run are written
        self._padded = bool((self._lengths_R < self._width).any())

    @torch.inference_mode()
    def run(self, stop: Callable[[], bool]) -> None:
        """Prefills, then decodes until all answers have ended."""
        self._members.select(self._running)
        bound: Any = self._members.module()
        on_gpu = self._members.device.type != "cpu"
        steps, look = self._decoding.max_new_tokens, SELDOM if on_gpu else 1
        decoder = StaticDecoder(bound.model, self._width + steps) if on_gpu else Decoder(bound.model)
        starts_R = self._width - self._lengths_R if self._padded else None
        done_R = torch.zeros(len(self._at_R), dtype=torch.bool, device=self._members.device)
        tokens_RT, reach = self._tokens_RT, slice(0, self._width)
        for step in range(steps):
            if stop():
                raise Stopped
            chosen_R = self._chosen(decoder(tokens_RT, reach, starts_R), step)
            chosen_R = chosen_R.masked_fill(done_R, self._decoding.pad)
            self.answers_RN[self._at_R, step] = chosen_R
            self.lengths_R[self._at_R] += ~done_R
            done_R |= torch.isin(chosen_R, self._ends)
            if (step + 1) % look == 0 and (kept := self._kept(done_R, moves=decoder.moves)) is not None:
                if not len(kept):
                    break
                decoder.select(kept)
                chosen_R, done_R = chosen_R[kept], done_R[kept]
                starts_R = None if starts_R is None else starts_R[kept]
                self._at_R = self._at_R[kept]
            tokens_RT, reach = chosen_R.unsqueeze(1), slice(reach.stop, reach.stop + 1)

    def _kept(self, done_R: Tensor, *, moves: bool) -> Tensor | None:
        """The rows that go on, where enough members have ended for the others to move together; otherwise None."""
        going_b = ~done_R.view(-1, self._per_member).all(1).cpu().numpy()
        left = int(going_b.sum())
        if left > FULL * len(going_b) or (left and not moves):
            return None
        rows = torch.arange(len(done_R), device=done_R.device).view(-1, self._per_member)
        if left:
            self._running = self._running[going_b]
            self._members.select(self._running)
        return rows[torch.from_numpy(going_b)].flatten()

    def _chosen(self, logits_RV: Tensor, step: int) -> Tensor:
        """The next token of each row, (R,)."""
        if self._drawn_RN is None:
            return logits_RV.argmax(1)
        sums_RV = torch.softmax(logits_RV.double() / self._decoding.temperature, 1).cumsum(1)
        threshold_R1 = self._drawn_RN[self._at_R, step].unsqueeze(1) * sums_RV[:, -1:]
        return torch.searchsorted(sums_RV, threshold_R1, right=True)[:, 0].clamp_(max=logits_RV.shape[1] - 1)
