"""How many members answer their prompts in one batch: as their keys and values, and their own rows, leave room."""

import math

from distes.members.members import Members
from distes.policies.language.causal_lm import CausalLM

# Fixed, and not what is free: the last bits of a product depend on its number of rows.
CACHE_BYTES = {"cpu": 2**30, "cuda": 2**33}  # of keys and values
MEMBER_BYTES = {"cpu": 2**30, "cuda": 2**34}  # of the members' own rows


def at_once(members: Members, prompts: tuple[int, ...], new: int) -> int:
    """Returns the number of members, at least 1: then each is computed in turn, from the same centre.

    Args:
        members: The members.
        prompts: Prompts of a member, and tokens of the longest one.
        new: Tokens of the longest answer.
    """
    policy, kind = members.policy, members.device.type
    assert isinstance(policy, CausalLM)
    each = cache_bytes(policy) * prompts[0] * (prompts[1] + new)
    return max(1, min(CACHE_BYTES[kind] // max(1, each), MEMBER_BYTES[kind] // members.bytes_each))


def cache_bytes(policy: CausalLM) -> int:
    """Returns the bytes of the keys and values of one token."""
    config = policy.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = 4 if policy.dtype == "float32" else 2
    return math.prod((2, config.num_hidden_layers, heads, width, size))
