"""Checks that a language model with its layers replaced gives the model's own logits.

Axes: R rows, T tokens.
"""

import torch

from distes.errors import ConfigurationError, raised
from distes.members.forward import Forward
from distes.members.layers.replace import left_over
from distes.noise.one_thread import one_thread
from distes.perturbations.row_layout import RowLayout
from distes.policies.language.causal_lm import CausalLM

TOKENS = 5


def require_agreement(module: CausalLM, forward: Forward) -> None:
    """Compares the logits of two short rows.

    That every parameter is in a layer of members is known from their names; so a member cannot be given a weight of the
    centre in place of its own.

    Args:
        module: The language model, with its weights.
        forward: Its population forward.

    Raises:
        ConfigurationError: A layer has no form for many members, or the logits differ.
    """
    name = type(module.model).__name__
    if forward.materialises:
        layers = left_over(module, forward.layout)
        named = ", ".join(layers[:3]) + (f" and {len(layers) - 3} more" if len(layers) > 3 else "")
        raise ConfigurationError(
            f"policy CausalLM cannot run {name} for many members: {named} has parameters in a form that distes does "
            "not know. It knows Linear, Conv1D, Embedding, LayerNorm and RMSNorm, and an embedding that is also the "
            "last layer."
        )
    tokens_RT = torch.arange(2 * TOKENS).view(2, TOKENS) % module.config.get_text_config().vocab_size
    dtype, forward.dtype = forward.dtype, torch.float32
    try:
        with torch.inference_mode(), one_thread():
            expected = module(tokens_RT)
            centre_1P = torch.from_numpy(forward.layout.flatten(module)).unsqueeze(0)
            forward.bind(centre_1P, RowLayout.written_out(forward.layout))
            got = forward.bound(tokens_RT)
    except Exception as error:
        raise ConfigurationError(
            f"policy CausalLM: {name} does not run with its layers replaced: it {raised(error)}."
        ) from error
    finally:
        forward.dtype = dtype
        forward.forget()
    largest = float((got - expected).abs().max())
    if not largest <= 1e-3 * max(1.0, float(expected.abs().max())):
        raise ConfigurationError(
            f"policy CausalLM: {name} gives other logits with its layers replaced, by up to {largest:.3g}: distes does "
            "not know this family of models."
        )
