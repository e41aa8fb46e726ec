"""Encodes a state as bytes and decodes it: arrays as safetensors, everything else as JSON, nothing as pickle.

A state consists of nested dicts with str keys, lists and tuples. Its leaves are torch tensors, NumPy arrays and
scalars, int of any size, float, str, bool and None. Decoding restores the same types and bits.

The JSON holds the state's tree. JSON's own null, booleans, strings, numbers and lists stand for themselves. Anything
else is an object with one key that names its kind: {"dict": {...}}, {"tuple": [...]}, {"float": "nan"},
{"int": "-0x1f..."}, {"array": "torch"}. An array's numbers are in the safetensors file, under the array's JSON pointer
(RFC 6901), such as `/strategy/optimizer/exp_avg`.

Decoding runs no code, whatever the bytes are, and allocates memory in proportion to them.
"""

import json
import math
import struct
from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

DTYPES: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "U16": np.uint16,
    "I16": np.int16,
    "U32": np.uint32,
    "I32": np.int32,
    "U64": np.uint64,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
}
ALLOWED = frozenset(np.dtype(kind) for kind in DTYPES.values())
NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
INT64 = 2**63  # larger integers become hexadecimal text, since JSON readers other than Python's would round them


def encode(state: Mapping[str, Any]) -> tuple[bytes, Arrays]:
    """Splits a state into its tree as JSON and its arrays by name.

    An array is copied only if it is not in C order, in native byte order and in the CPU's memory.

    Raises:
        TypeError: A leaf has a type that a state cannot hold, or a key is not a str; the message names its place.
    """
    arrays: Arrays = {}
    tree = _encode(dict(state), "", arrays)
    return json.dumps(tree, allow_nan=False, separators=(",", ":")).encode("ascii"), arrays


def decode(tree: bytes, arrays: Arrays) -> dict[str, Any]:
    """Rebuilds a state from the results of `encode`.

    Raises:
        ValueError: The tree and the arrays do not belong together, or were not written by `encode`.
    """
    rest = dict(arrays)
    try:
        state = _decode(json.loads(tree, parse_constant=_refuse), "", rest)
    except RecursionError:
        raise ValueError("its tree is nested too deeply") from None
    if rest:
        raise ValueError(f"the array {min(rest)!r} belongs nowhere")
    if not isinstance(state, dict):
        raise ValueError("it is not a dict")
    return state


def pack(arrays: Arrays, metadata: dict[str, str] | None = None) -> bytes:
    """Returns the content of a safetensors file that holds the arrays and the metadata."""
    import safetensors.numpy  # here, since processes that only evaluate members save nothing

    return safetensors.numpy.save(arrays, metadata)


def unpack(data: bytes) -> tuple[Arrays, dict[str, str]]:
    """Returns the arrays of a safetensors file, writable, and its metadata.

    Raises:
        ValueError: The data is not a safetensors file, or holds a dtype that `pack` does not write.
    """
    import safetensors

    try:
        entries = safetensors.deserialize(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"it is no safetensors file ({error})") from None
    arrays: Arrays = {}
    for name, entry in entries:
        if entry["dtype"] not in DTYPES:
            raise ValueError(f"the array {name!r} has dtype {entry['dtype']}")
        # Each entry has a bytearray of its own, so this view is writable and shares memory with no other array.
        array = np.frombuffer(entry["data"], np.uint8)
        if entry["dtype"] == "BOOL" and array.size and array.max() > 1:
            raise ValueError(f"the array {name!r} holds bytes that are neither true nor false")
        arrays[name] = array.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    (length,) = struct.unpack_from("<Q", data)  # safe, since `deserialize` has parsed the header
    return arrays, json.loads(data[8 : 8 + length]).get("__metadata__") or {}


def array_of(tensor: torch.Tensor) -> NDArray[Any]:
    """Returns a tensor's numbers as an array of its shape; bfloat16, which NumPy lacks, as int16 with the same bits."""
    tensor = tensor.detach().cpu()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    if type(value) in (NoneType, bool, str):
        return value
    if type(value) is int:
        return value if -INT64 <= value < INT64 else {"int": hex(value)}
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) is list:
        return [_encode(item, f"{name}/{i}", arrays) for i, item in enumerate(value)]
    if type(value) is tuple:
        return {"tuple": _encode(list(value), name, arrays)}
    if isinstance(value, Mapping):
        _check_keys(value, name)
        return {"dict": {key: _encode(item, f"{name}/{_token(key)}", arrays) for key, item in value.items()}}
    if isinstance(value, torch.Tensor):
        kind = "torch bfloat16" if value.dtype == torch.bfloat16 else "torch"
        array = array_of(value)
    elif isinstance(value, np.ndarray):
        kind, array = "numpy", value
    elif isinstance(value, np.generic):
        kind, array = "numpy scalar", np.asarray(value)
    else:
        raise TypeError(f"a state cannot hold a {type(value).__name__}; one stands at {name}")
    native = array.dtype.newbyteorder("=")
    if native not in ALLOWED:
        raise TypeError(f"a state cannot hold an array of dtype {array.dtype}; one stands at {name}")
    arrays[name] = np.asarray(array, dtype=native, order="C")
    return {"array": kind}


def _check_keys(items: Mapping[Any, Any], name: str) -> None:
    for key in items:
        if not isinstance(key, str):
            raise TypeError(f"a state's keys are str; {name or 'its root'} has the key {key!r}")
        if not key.isascii():
            key.encode()  # raises on a lone surrogate, which UTF-8 cannot encode


def _token(key: str) -> str:
    """Escapes a key as a reference token of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _decode(node: Any, name: str, arrays: Arrays) -> Any:
    if isinstance(node, list):
        return [_decode(item, f"{name}/{i}", arrays) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    match node:
        case {"dict": dict(items), **others} if not others:
            return {key: _decode(item, f"{name}/{_token(key)}", arrays) for key, item in items.items()}
        case {"tuple": list(items), **others} if not others:
            return tuple(_decode(items, name, arrays))
        case {"float": str(text), **others} if not others and text in NON_FINITE:
            return NON_FINITE[text]
        case {"int": str(text), **others} if not others:
            return int(text, 16)
        case {"array": str(kind), **others} if not others and name in arrays:
            return _restore(arrays.pop(name), kind, name)
    raise ValueError(f"its tree has something unknown, or lacks an array, at {name or 'its root'}")


def _restore(array: NDArray[Any], kind: str, name: str) -> Any:
    if kind == "numpy":
        return array
    if kind == "torch":
        return torch.from_numpy(array)
    if kind == "numpy scalar" and array.ndim == 0:
        return array[()]
    if kind == "torch bfloat16" and array.dtype == np.int16:
        return torch.from_numpy(array).view(torch.bfloat16)
    raise ValueError(f"the array at {name} is no {kind}")


def _refuse(constant: str) -> None:
    raise ValueError(f"its tree has the constant {constant}, which JSON lacks")
