"""What a run's results depend on besides its configuration, as text: a resumed run must have the same."""

import hashlib

import torch
from torch import nn

from distes.members.layers.replace import statistics_slots
from distes.policies import virtual_batch_norm
from distes.policies.language.causal_lm import CausalLM
from distes.pools.experiment import Experiment


def identity(experiment: Experiment, policy: nn.Module) -> dict[str, str]:
    """Returns what a run's results depend on besides its configuration, as text by name. Makes the noise table."""
    names = ", ".join(f"{name} {tuple(one.shape)}" for name, one in policy.named_parameters())
    found = {"noise/fingerprint": experiment.noise.fingerprint, "policy/parameters": names}
    strategy = experiment.strategy
    if strategy is not None and (strategy.needs_initial or strategy.ask().genomes is not None):
        initial_P = experiment.forward.layout.flatten(policy)  # genomes are decoded from it in every generation
        found["policy/initial"] = hashlib.sha256(initial_P.tobytes()).hexdigest()[:16]
    found |= {f"task/{name}": text for name, text in experiment.task.identity.items()}
    if isinstance(policy, CausalLM):
        found |= {f"policy/{name}": text for name, text in policy.digests.items()}
    if (reference := virtual_batch_norm.reference_of(policy)) is not None:
        found["policy/reference_batch"] = reference.digest()
    return found


def fixed_numbers(policy: nn.Module) -> str:
    """Returns a digest of a policy's buffers and of the parameters that are not searched, which no seed determines."""
    searched = {name for name, one in policy.named_parameters() if one.requires_grad}
    searched |= {slot.name for slot in statistics_slots(policy)}  # follow from what is searched
    digest = hashlib.sha256()
    for name, one in policy.state_dict().items():
        if name not in searched and isinstance(one, torch.Tensor):
            numbers = one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(f"{name} {one.dtype} {tuple(one.shape)}\n".encode() + numbers.tobytes())
    return digest.hexdigest()[:16]
