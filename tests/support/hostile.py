"""Loads thousands of harmed and hostile files, in a process that may do nothing but read numbers.

Checksums are made anew after each mutation, as somebody with bad intentions would. Prints a line of JSON.
"""

import hashlib
import json
import random
import resource
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distes.errors import CheckpointError
from distes.runs import policy_files
from distes.runs.checkpoint import ARRAYS, MANIFEST, TREE, Checkpoints, _canonical, _sha256

ROOM = 512 * 2**20  # bytes beyond what is in use
FORBIDDEN = ("exec", "compile", "import", "subprocess.Popen", "os.system", "os.exec", "socket.connect", "ctypes.dlopen")
TOKENS = [b"{", b"}", b"[", b"]", b'"', b"null", b"NaN", b"1e999", b"-1", b"999999999999", b'{"dict":', b"0x", b"\xff"]


def mutated(data: bytes, numbers: random.Random) -> bytes:
    """A few bits, a stretch removed, repeated or replaced, a length changed, or an end cut off."""
    changed = bytearray(data)
    for _ in range(numbers.choice([1, 1, 2, 5])):
        at = numbers.randrange(len(changed) or 1)
        match numbers.randrange(6):
            case 0 if changed:
                changed[at] ^= 1 << numbers.randrange(8)
            case 1:
                del changed[at : at + numbers.randrange(1, 40)]
            case 2:
                changed[at:at] = changed[at : at + numbers.randrange(1, 40)]
            case 3:
                changed[at : at + numbers.randrange(4)] = numbers.choice(TOKENS)
            case 4:
                changed[:8] = struct.pack("<Q", numbers.choice([0, 1, len(data), 2**31, 2**62, 2**64 - 1]))
            case _:
                del changed[at:]
    return bytes(changed)


def signed(folder: Path, contents: dict[str, bytes], generation: int) -> None:
    """Writes a checkpoint whose manifest is right."""
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    body = json.loads((folder / MANIFEST).read_bytes())["manifest"]
    body["files"] = {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in contents.items()}
    (folder / MANIFEST).write_bytes(_canonical({"manifest": body, "sha256": _sha256(_canonical(body))}))


def relabelled(data: bytes, numbers: random.Random) -> bytes:
    """A file of parameters with another header, and as many numbers."""
    (length,) = struct.unpack_from("<Q", data)
    header = mutated(data[8 : 8 + length], numbers)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def main(count: int) -> None:
    """Loads, and counts what came of it."""
    outcomes = {"loaded": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        state = {"strategy": {"centre_P": np.arange(300, dtype=np.float32), "step": torch.tensor(3.0)}, "best": 1.5}
        Checkpoints(directory / "checkpoints").save(7, state)
        folder = directory / "checkpoints" / "generation-00000007"
        contents = {name: (folder / name).read_bytes() for name in (ARRAYS, TREE)}
        module = torch.nn.Linear(6, 5)
        meta: dict[str, Any] = {"policy": {"class_path": "os.system", "init_args": {"command": "true"}}}
        meta["task"] = {"class_path": "os.abort", "init_args": {}}
        meta |= {"observation_shape": (6,), "action_size": 5, "generation": 7, "eval_mean": 1.0}
        policy_files._digest = lambda arrays: DIGEST  # theirs would be right, too
        policy_files.save_policy(directory / "policy", "best", module.state_dict(), None, meta)
        policy = {name: (directory / "policy" / name).read_bytes() for name in ("best.safetensors", "policy.json")}
        policy_files.load_policy(directory)
        assert Checkpoints(directory / "checkpoints").load_newest() is not None
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + ROOM, in_use + ROOM))
        sys.addaudithook(refuse)
        for seed in range(count):
            numbers = random.Random(seed)
            kind = seed % 4
            try:
                if kind < 2:
                    name = (ARRAYS, TREE)[kind]
                    change = relabelled if kind == 0 and seed % 8 else mutated
                    signed(folder, {**contents, name: change(contents[name], numbers)}, 7)
                    Checkpoints(directory / "checkpoints").load_newest()
                else:
                    name = ("best.safetensors", "policy.json")[kind - 2]
                    change = relabelled if kind == 2 and seed % 8 < 4 else mutated
                    for other, data in policy.items():
                        (directory / "policy" / other).write_bytes(change(data, numbers) if other == name else data)
                    policy_files.load_policy(directory)
                outcomes["loaded"] += 1
            except CheckpointError as error:
                outcomes["refused"] += bool(str(error))
    print(json.dumps(outcomes))


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Nothing but reading; Python's own codecs and what is imported already may be imported."""
    if event == "import" and (arguments[0] in sys.modules or str(arguments[0]).startswith("encodings.")):
        return
    if event in FORBIDDEN and not compiles_a_codec(event, arguments):
        raise SystemExit(f"a file made this process do {event}{arguments}")


def compiles_a_codec(event: str, arguments: tuple[Any, ...]) -> bool:
    """The code of a codec is run when it is imported."""
    return event == "exec" and "encodings" in getattr(arguments[0], "co_filename", "")


DIGEST = hashlib.sha256(b"anything").hexdigest()

if __name__ == "__main__":
    main(int(sys.argv[1]))
