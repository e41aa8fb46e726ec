"""A subnetwork in one file: the seed of its weights, and one bit for each connection.

The file is a safetensors file. Its array `mask` has the bits, the first in the highest place of the first byte, in the
order of the searched vector; its metadata have what draws the network again, and the SHA-256 of the frozen weights.
Numbers that neither a seed nor a bit determines, such as statistics and the normalisation of observations, follow as
arrays of their own.
"""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from distes.api.building.policy import build_policy
from distes.errors import CheckpointError, ConfigurationError
from distes.errors.trust import only_own
from distes.policies.subnetwork import Subnetwork
from distes.population import Normalization
from distes.runs import atomic_files
from distes.runs.policy_files import MEAN, STD, SavedPolicy, Which, load_policy
from distes.runs.state_encoding import array_of, pack, unpack

FORMAT = "distes subnetwork 1"
MASK, OTHER = "mask", "module."


def read_saved(path: Path, which: Which) -> SavedPolicy:
    """Reads a saved policy from a run directory, its `policy` folder, or a file of `export_subnetwork`.

    Call it where only code is imported that the user trusts: a subnetwork's network is made here.

    Raises:
        CheckpointError: There is no such policy, or it is damaged.
    """
    return read(path) if path.is_file() else load_policy(path, which)


class Written(NamedTuple):
    """What was written.

    Attributes:
        size: Bytes of the file.
        connections: P, the connections of the network.
        kept: Those that the mask keeps.
    """

    size: int
    connections: int
    kept: int


def export_subnetwork(saved: SavedPolicy, path: Path, *, trust: bool = False) -> Written:
    """Writes a subnetwork as a seed and one bit for each connection. What is written is read back first.

    Args:
        saved: The policy that a run with a `Subnetwork` has saved.
        path: The file.
        trust: Whether the network may be of a class that is not part of distes.

    Raises:
        ConfigurationError: The policy is no subnetwork, its weights do not follow from a seed and bits, or the file
            cannot be written.
    """
    if saved.parametrization is None:
        raise ConfigurationError(
            "subnetwork: only the policy of a run with --policy Subnetwork can be written as a seed and bits; this one "
            f"was trained as {saved.policy['class_path']}. Use --onnx or --torch_export."
        )
    with nullcontext() if trust else only_own("The saved policy"):
        network = _network(saved.parametrization, saved.observation_shape, saved.action_size)
        network.inner.load_state_dict(saved.module_state)
        bits_P = network.bits_of_weights(torch.from_numpy(network.weights.flatten(network.inner)))
        data = _packed(saved, _network(saved.parametrization, saved.observation_shape, saved.action_size), bits_P)
        back = _unpacked(data, path).module_state
    if back.keys() != saved.module_state.keys() or any(
        not torch.equal(one, back[name]) for name, one in saved.module_state.items()
    ):
        raise ConfigurationError("subnetwork: the weights that come back are not those that were saved.")
    try:
        atomic_files.replace(path, data)
    except OSError as error:
        raise ConfigurationError(f"subnetwork: {path} cannot be written: {atomic_files.reason(error)}.") from error
    return Written(len(data), network.connections, int(bits_P.sum()))


def _packed(saved: SavedPolicy, network: Subnetwork, bits_P: torch.Tensor) -> bytes:
    state = _state(network, bits_P)
    others = {name: one for name, one in saved.module_state.items() if not torch.equal(one, state[name])}
    if wrong := others.keys() & network.drawn:
        raise ConfigurationError(
            f"subnetwork: the saved weights of {min(wrong)} are not those of the seed {network.seed}, masked."
        )
    arrays = {MASK: np.packbits(bits_P.numpy())} | {OTHER + name: array_of(one) for name, one in others.items()}
    if saved.normalization is not None:
        arrays |= {MEAN: saved.normalization.mean_O, STD: saved.normalization.std_O}
    about = {
        "format": FORMAT,
        "policy": saved.parametrization,
        "task": saved.task,
        "observation_shape": saved.observation_shape,
        "action_size": saved.action_size,
        "generation": saved.generation,
        "sha256": network.sha256(),
    }
    return pack(arrays, {"distes": json.dumps(about, separators=(",", ":"))})


def read(path: Path) -> SavedPolicy:
    """Reads a file of `export_subnetwork`: draws the network's weights again, and masks them.

    Raises:
        CheckpointError: It is no such file, it is damaged, or this machine draws other weights.
    """
    try:
        data = atomic_files.read(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {atomic_files.reason(error)}.") from error
    return _unpacked(data, path)


def _unpacked(data: bytes, path: Path) -> SavedPolicy:
    try:
        arrays, metadata = unpack(data)
        about: dict[str, Any] = json.loads(metadata["distes"])
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r}")
        shape, size = tuple(about["observation_shape"]), about["action_size"]
        part, task, generation, sha256 = (about[name] for name in ("policy", "task", "generation", "sha256"))
        packed = arrays.pop(MASK)
        normalization = Normalization(arrays.pop(MEAN), arrays.pop(STD)) if MEAN in arrays else None
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged, or no subnetwork that distes has exported ({error}).") from error
    network = _network(part, shape, size)
    if network.sha256() != sha256:
        raise CheckpointError(
            f"The weights that the seed {network.seed} gives here are not those of {path}: use the versions of torch "
            "and NumPy that it was exported with, or export the policy with --onnx there."
        )
    if packed.dtype != np.uint8 or packed.shape != (-(-network.connections // 8),):
        raise CheckpointError(f"{path} is damaged: it has {packed.nbytes} bytes for {network.connections} connections.")
    bits_P = torch.from_numpy(np.unpackbits(packed, count=network.connections).astype(np.bool_))
    state = _state(network, bits_P) | {
        name.removeprefix(OTHER): torch.from_numpy(array) for name, array in arrays.items()
    }
    return SavedPolicy(
        policy=network.description,
        task=task,
        observation_shape=shape,
        action_size=size,
        module_state=state,
        normalization=normalization,
        generation=generation,
        eval_mean=None,
        parametrization=part,
    )


def _network(part: dict[str, Any], shape: tuple[int, ...], action_size: int) -> Subnetwork:
    made = build_policy(part, shape, action_size)
    if not isinstance(made, Subnetwork):
        raise ConfigurationError(f"subnetwork: {part['class_path']} is no Subnetwork.")
    return made


def _state(network: Subnetwork, bits_P: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state of the network's module with a mask."""
    weights_W = network.weights_of_bits(bits_P.unsqueeze(0))[0].numpy()
    network.weights.load(network.inner, weights_W)
    return {name: one.detach().clone() for name, one in network.inner.state_dict().items()}
