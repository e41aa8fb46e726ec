"""Perplexity of texts under many members. Axes: B members, K pieces, R rows, T tokens of a piece, V entries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812, torch's own abbreviation

from distes.members.members import Members

AT_ONCE = 8  # pieces; fixed, since the last bits of a product depend on its number of rows


def perplexity(members: Members, pieces: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Returns exp of the mean negative log-probability of all tokens but each piece's first, (B,).

    Args:
        members: Each is computed by itself, so that its logits find room.
        pieces: Tokens, each (T,), of which there must be at least two.
    """
    nats_B, count = np.zeros(len(members)), sum(len(piece) - 1 for piece in pieces)
    for b in range(len(members)):
        members.select(np.array([b]))
        bound: Any = members.module()
        for first in range(0, len(pieces), AT_ONCE):
            some = pieces[first : first + AT_ONCE]
            tokens_KT = np.zeros((len(some), max(map(len, some))), np.int64)
            wanted_KT = np.full(tokens_KT.shape, -100)  # what cross_entropy leaves out
            for row, piece in enumerate(some):
                tokens_KT[row, : len(piece)] = piece  # filled up on the right, which no token before it sees
                wanted_KT[row, : len(piece) - 1] = piece[1:]
            x_KT = torch.from_numpy(tokens_KT).to(members.device)
            with torch.inference_mode():
                places_KT = torch.arange(x_KT.shape[1], device=members.device).expand(x_KT.shape)
                logits_KTV = bound.model(input_ids=x_KT, position_ids=places_KT, use_cache=False).logits
                wanted = torch.from_numpy(wanted_KT).to(members.device).flatten()
                nats_B[b] += float(F.cross_entropy(logits_KTV.flatten(0, 1).float(), wanted, reduction="sum"))
    return np.exp(nats_B / count) if count else np.full(len(members), np.nan)
