"""Embeddings that scale what they look up, as Gemma's does: known by what they do, as `rms_norm.py` knows norms."""

import copy

import torch
from torch import Tensor, nn

from distes.policies.layout import is_embedding

ENTRIES, FEATURES = 7, 5  # of the small table that stands in for a layer's own


def embedding_scale(layer: nn.Module) -> float | None:
    """Finds out by what factor an embedding multiplies what it looks up, by running it; None if it does anything else.

    Args:
        layer: The module; it is not changed. Its weight may be on the meta device.
    """
    if not isinstance(layer, nn.Embedding) or not is_embedding(layer) or layer.max_norm is not None:
        return None
    if type(layer) is nn.Embedding:
        return 1.0
    if set(dict(layer.named_parameters())) != {"weight"}:
        return None
    table = torch.linspace(-1.0, 2.0, ENTRIES * FEATURES).view(ENTRIES, FEATURES)
    small = nn.Parameter(table, requires_grad=False)
    own = copy.deepcopy(layer, memo={id(layer.weight): small})
    own.padding_idx = None  # it may be beyond the small table, and changes gradients only
    places = torch.tensor([[0, 3], [ENTRIES - 1, 0]])
    try:
        with torch.no_grad():
            got = own(places)
    except Exception:  # whatever a foreign forward raises, it is no embedding that is known here
        return None
    looked_up = table[places]
    if not isinstance(got, Tensor) or got.shape != looked_up.shape:
        return None
    scale = float(got.flatten()[-1] / looked_up.flatten()[-1])
    return scale if torch.allclose(got, looked_up * scale, rtol=1e-6, atol=1e-7) else None
