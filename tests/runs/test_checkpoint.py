"""Checkpoints: what goes in comes out, and what was harmed is recognised."""

import contextlib
import errno
import json
import math
import multiprocessing
import os
import pickle
import struct
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distes.errors import CheckpointError, ConfigurationError
from distes.runs.background_writer import BackgroundWriter
from distes.runs.checkpoint import Checkpoints
from distes.runs.state_encoding import DTYPES, decode, encode, pack, unpack


def same(a: Any, b: Any) -> bool:
    """Equal in type, shape and every bit (NaN included)."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        if a.dtype == torch.bfloat16:
            a, b = a.view(torch.int16), b.view(torch.int16)
        return a.dtype == b.dtype and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def a_state(seed: int = 0) -> dict[str, Any]:
    numbers = np.random.default_rng(seed)
    return {
        "strategy": {
            "centre_P": numbers.standard_normal(1000, dtype=np.float32),
            "optimizer": {"step": torch.tensor(3.0), "exp_avg": torch.arange(7), "betas": (0.9, 0.999)},
        },
        "generation": seed,
        "best": -math.inf,
        "key": 2**200,
        "name": "naïve \ud800 text",
    }


arrays = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**300), max_value=2**300),
    st.floats(),
    st.text(st.characters(exclude_categories=[])),
    arrays,
    arrays.map(np.ascontiguousarray).map(torch.from_numpy),
    arrays.map(lambda array: array.T),  # not contiguous
    st.floats(width=32).map(np.float32),
    st.floats(width=16).map(lambda x: torch.tensor([x], dtype=torch.bfloat16)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3), st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(), trees, max_size=4))
def test_a_state_comes_back_bit_for_bit(state: dict[str, Any]) -> None:
    tree, numbers = encode(state)
    assert same(decode(tree, unpack(pack(numbers))[0]), state)
    json.loads(tree, parse_constant=pytest.fail)  # strict JSON


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {1: 2}}, "keys are str; /a has the key 1"),
        ({"a": [object()]}, "cannot hold a object; one stands at /a/0"),
        ({"a": {"b": np.array(["x"])}}, "dtype <U1; one stands at /a/b"),
        ({"a": 1j}, "cannot hold a complex"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, "dtype complex64"),
    ],
)
def test_what_no_file_can_hold_is_refused_by_its_place(state: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode(state)


def test_what_is_loaded_can_be_changed_in_place(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.arange(3.0), "b": torch.arange(3)})
    loaded = checkpoints.load_newest()
    assert loaded is not None
    loaded[1]["a"] += 1
    loaded[1]["b"] += 1
    assert loaded[1]["a"].tolist() == [1, 2, 3]


def test_the_newest_is_loaded_and_the_last_k_are_kept(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    checkpoints = Checkpoints(tmp_path / "made" / "here", keep=2)
    assert checkpoints.load_newest() is None
    for generation in (9, 10, 11, 100_000_000):
        checkpoints.save(generation, a_state(generation))
    loaded = Checkpoints(tmp_path / "made" / "here").load_newest()
    assert loaded is not None
    assert loaded[0] == 100_000_000
    assert same(loaded[1], a_state(100_000_000))
    assert names(tmp_path / "made" / "here") == ["generation-00000011", "generation-100000000"]


def test_a_generation_saved_twice_counts_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for generation, seed in ((1, 1), (2, 2), (2, 3), (2, 4)):
        checkpoints.save(generation, a_state(seed))
    assert names(tmp_path) == ["generation-00000001", "generation-00000002.2"]
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert same(loaded[1], a_state(4))


def test_keep_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 1, got 0"):
        Checkpoints(tmp_path, keep=0)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


# Damage


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("two")
    checkpoints = Checkpoints(directory)
    checkpoints.save(1, a_state(1))
    checkpoints.save(2, a_state(2))
    return directory


FILES = ["state.safetensors", "state.json", "manifest.json"]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), data=st.data())
def test_any_flipped_bit_is_noticed_and_the_one_before_is_used(two: Path, name: str, data: st.DataObject) -> None:
    path = two / "generation-00000002" / name
    good = path.read_bytes()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[place] ^= data.draw(st.integers(1, 255))
    falls_back(two, path, good, bytes(bad))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(FILES), data=st.data())
def test_any_torn_file_is_noticed_and_the_one_before_is_used(two: Path, name: str, data: st.DataObject) -> None:
    path = two / "generation-00000002" / name
    good = path.read_bytes()
    length = data.draw(st.integers(0, len(good) - 1))
    tail = data.draw(st.sampled_from([b"", bytes(len(good) - length), b"\n" + good]))
    assume(good[:length] + tail != good)
    falls_back(two, path, good, good[:length] + tail)


def falls_back(directory: Path, path: Path, good: bytes, bad: bytes) -> None:
    path.write_bytes(bad)
    try:
        checkpoints = Checkpoints(directory)
        loaded = checkpoints.load_newest()
        assert loaded is not None
        assert loaded[0] == 1
        assert same(loaded[1], a_state(1))
        (warning,) = checkpoints.warnings
        assert str(path.parent) in warning
        assert path.name in warning
        assert warning.endswith("The one before it is used.")
    finally:
        path.write_bytes(good)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for generation in (1, 2, 3):
        checkpoints.save(generation, a_state(generation))
    (tmp_path / "generation-00000003" / "state.json").unlink()
    (tmp_path / "generation-00000002" / "manifest.json").unlink()
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert loaded[0] == 1
    assert len(checkpoints.warnings) == 2
    checkpoints.load_newest()
    assert len(checkpoints.warnings) == 2, "only those of the latest call"


def test_without_a_good_one_the_folder_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, a_state())
    (tmp_path / "generation-00000001" / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=f"No checkpoint in {tmp_path} can be read .*state.json.*--run_dir"):
        checkpoints.load_newest()


def test_a_renamed_checkpoint_is_not_taken_for_a_later_one(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, a_state())
    (tmp_path / "generation-00000001").rename(tmp_path / "generation-00000007")
    with pytest.raises(CheckpointError, match="manifest is that of generation 1"):
        Checkpoints(tmp_path).load_newest()


def test_damaged_ones_neither_count_nor_stay_once_a_good_one_is_there(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for generation in (1, 2, 3):
        checkpoints.save(generation, a_state(generation))
    (tmp_path / "generation-00000003" / "state.json").write_text("{}")
    resumed = Checkpoints(tmp_path, keep=2)
    loaded = resumed.load_newest()
    assert loaded is not None
    assert loaded[0] == 2
    resumed.save(3, a_state(33))
    assert names(tmp_path) == ["generation-00000002", "generation-00000003.1"]


# Hostile files: their checksums are right, since whoever made them could compute checksums.


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.abort, ()


def forged(directory: Path, tree: bytes, numbers: bytes) -> Checkpoints:
    from distes.runs import checkpoint

    folder = directory / "generation-00000001"
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"state.safetensors": numbers, "state.json": tree}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "manifest.json").write_bytes(checkpoint._manifest(1, contents))
    return Checkpoints(directory)


def header(**entries: tuple[str, list[int], int]) -> bytes:
    """A safetensors file: dtype, shape and number of bytes of each array; the bytes are sevens."""
    content = {f"/{name}": {"dtype": t, "shape": s, "data_offsets": [0, n]} for name, (t, s, n) in entries.items()}
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + b"\x07" * sum(n for _, _, n in entries.values())


NONE = header()
EMPTY = header(a=("U8", [0], 0))
ARRAY = b'{"dict":{"a":{"array":"numpy"}}}'


@pytest.mark.parametrize(
    ("tree", "numbers"),
    [
        (b'{"dict":{}}', pickle.dumps(Bomb())),
        (pickle.dumps(Bomb()), NONE),
        (b"[" * 100_000, NONE),
        (b'{"dict":' * 100_000, NONE),
        (b'{"dict":{"a":' + b"[" * 900 + b"]" * 900 + b"}}", NONE),
        (b'{"dict":{"a":NaN}}', NONE),
        (b'{"dict":{"a":' + b"9" * 100_000 + b"}}", NONE),
        (b'{"dict":{"a":{"int":"x"}}}', NONE),
        (b'{"dict":{"a":{"float":"1"}}}', NONE),
        (ARRAY, NONE),
        (b'{"dict":{"a":{"array":"object"}}}', EMPTY),
        (b'{"dict":{"a":{"array":"numpy","more":1}}}', EMPTY),
        (b'{"dict":{"a":{"array":"numpy scalar"}}}', EMPTY),
        (b'{"dict":{"a":{"array":"torch bfloat16"}}}', EMPTY),
        (b'{"dict":{}}', EMPTY),
        (ARRAY, header(a=("F64", [2**60], 0))),
        (ARRAY, header(a=("F64", [2**62, 2**62], 0))),
        (ARRAY, header(a=("F64", [0, 2**62, 2**62], 0))),
        (ARRAY, header(a=("F64", [1] * 1000, 8))),
        (ARRAY, header(a=("BOOL", [1], 1))),
        (ARRAY, header(a=("F8_E4M3", [1], 1))),
        (b'{"dict":{}}', struct.pack("<Q", 2**63) + b"{}"),
        (b'{"dict":{}}', b""),
        (b"[]", NONE),
        (b"\xff", NONE),
    ],
)
def test_a_hostile_file_is_refused_in_a_sentence(tmp_path: Path, tree: bytes, numbers: bytes) -> None:
    with pytest.raises(CheckpointError, match="can be read"):
        forged(tmp_path, tree, numbers).load_newest()


def test_forging_as_above_works_at_all(tmp_path: Path) -> None:
    assert forged(tmp_path, ARRAY, header(a=("U8", [2], 2))).load_newest() == (1, {"a": pytest.approx([7, 7])})


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[1]",
        b'{"manifest":{},"sha256":""}',
        b"[" * 4000,
        b'{"manifest":' * 300,
        bytes(5000),
        b'{"manifest":{"files":{"state.json":{"bytes":1e999,"sha256":0},"state.safetensors":{"bytes":-1,"sha256":0}}}}',
    ],
)
def test_a_hostile_manifest_is_refused_in_a_sentence(tmp_path: Path, manifest: bytes) -> None:
    checkpoints = forged(tmp_path, b'{"dict":{}}', NONE)
    (tmp_path / "generation-00000001" / "manifest.json").write_bytes(manifest)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        checkpoints.load_newest()


@pytest.mark.parametrize("name", FILES)
def test_pipes_and_devices_are_not_read(tmp_path: Path, name: str) -> None:
    checkpoints = forged(tmp_path, b'{"dict":{}}', NONE)
    path = tmp_path / "generation-00000001" / name
    path.unlink()
    os.mkfifo(path)  # reading it would wait for ever
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoints.load_newest()
    path.unlink()
    path.symlink_to("/dev/zero")  # reading it would never end
    with pytest.raises(CheckpointError, match="not a regular file"):
        checkpoints.load_newest()


# Disks


class FullDisk:
    """Lets `bytes_left` bytes through, then raises as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, bytes_left: int) -> None:
        self.bytes_left = bytes_left
        self.write = os.write
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: Any) -> int:
        if self.bytes_left <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.write(descriptor, memoryview(data)[: self.bytes_left])
        self.bytes_left -= written
        return written


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.95, 0.999])
def test_a_full_disk_is_a_sentence_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, a_state(1))
    size = sum(path.stat().st_size for path in (tmp_path / "generation-00000001").iterdir())
    with monkeypatch.context() as patch:
        FullDisk(patch, int(share * size))
        message = f"generation 2 could not be written into {tmp_path}: No space left on device"
        with pytest.raises(CheckpointError, match=message):
            checkpoints.save(2, a_state(2))
    assert names(tmp_path) == ["generation-00000001"], "nothing half-written is left"
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert same(loaded[1], a_state(1))
    checkpoints.save(3, a_state(3))
    loaded = checkpoints.load_newest()
    assert loaded is not None
    assert loaded[0] == 3


def test_an_error_that_only_fsync_tells_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        Checkpoints(tmp_path).save(1, a_state())
    assert names(tmp_path) == []


def test_everything_reaches_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name.partition('-')[0]}")
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        events.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    folder = tmp_path / "checkpoints"
    Checkpoints(folder).save(1, a_state())
    before, after = events[: events.index("rename")], events[events.index("rename") + 1 :]
    assert sorted(before) == ["fsync .writing", "fsync manifest.json", "fsync state.json", "fsync state.safetensors"]
    assert before[-1] == "fsync .writing"
    assert after == ["fsync checkpoints"]


def test_what_a_killed_process_left_is_removed_by_the_next_writer_only(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, a_state())
    left = tmp_path / ".writing-2-999"
    left.mkdir()
    (left / "state.json").write_text("{")
    (tmp_path / ".removing-generation-00000000").mkdir()
    (tmp_path / "notes.txt").write_text("the user's own")
    reader = Checkpoints(tmp_path)
    assert reader.load_newest() is not None
    assert left.exists(), "a reader may look on while another process writes"
    reader.save(2, a_state())
    assert names(tmp_path) == ["generation-00000001", "generation-00000002", "notes.txt"]


def write_for_ever(directory: Path, said: Connection) -> None:
    checkpoints = Checkpoints(directory, keep=2)
    loaded = checkpoints.load_newest()
    generation = loaded[0] if loaded else 0
    said.send(generation)
    while True:
        generation += 1
        checkpoints.save(generation, {"array": np.full(200_000, generation), "generation": generation})
        said.send(generation)


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_whole_checkpoints(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")  # forks a process that has imported torch once and for all
    context.set_forkserver_preload(["distes.runs.checkpoint"])
    reached = 0
    for delay in np.random.default_rng(0).uniform(0.0, 0.04, size=16):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=write_for_ever, args=(tmp_path, theirs))
        process.start()
        theirs.close()
        promised = ours.recv()
        assert promised == reached
        time.sleep(delay)
        process.kill()
        process.join()
        with contextlib.suppress(EOFError):
            while True:
                promised = ours.recv()
        checkpoints = Checkpoints(tmp_path)
        loaded = checkpoints.load_newest()
        assert checkpoints.warnings == []
        reached, state = loaded or (0, {"generation": 0, "array": np.zeros(1)})
        assert reached >= promised, "what save returned from is there"
        assert state["generation"] == reached
        assert (state["array"] == reached).all()
    assert reached > 5


# In the background


def test_the_newest_of_what_waits_is_written_and_close_waits_for_it() -> None:
    gate, started, written = threading.Event(), threading.Event(), []

    def first() -> None:
        started.set()
        gate.wait(10)
        written.append(1)

    writer = BackgroundWriter()
    writer.hand_over("checkpoint", first)
    assert started.wait(10)
    for number in (2, 3, 4):
        writer.hand_over("checkpoint", lambda number=number: written.append(number))  # type: ignore[misc]
        writer.hand_over("policy", lambda number=number: written.append(-number))  # type: ignore[misc]
    assert written == [], "handing over waits for nothing"
    gate.set()
    writer.close()
    assert written == [1, 4, -4]
    with pytest.raises(RuntimeError, match="closed"):
        writer.hand_over("checkpoint", first)


def settle(writer: BackgroundWriter) -> str | None:
    """Waits until everything handed over so far is written; returns the error that surfaces meanwhile."""
    done = threading.Event()
    error = None
    try:
        writer.hand_over("settle", done.set)
    except CheckpointError as surfaced:
        error = str(surfaced)
    assert done.wait(10)
    return error


def test_an_error_surfaces_once_while_it_lasts_and_again_at_the_end() -> None:
    def fail(number: int) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise CheckpointError(f"number {number}") from error

    writer, surfaced, accepted = BackgroundWriter(), [], []
    for number in (1, 2, 3):
        writer.hand_over("checkpoint", lambda number=number: fail(number))  # type: ignore[misc]
        surfaced += [settle(writer), settle(writer)]
    assert [error for error in surfaced if error] == ["number 1"]
    writer.hand_over("checkpoint", lambda: accepted.append(4))
    settle(writer)
    assert accepted == [4]
    writer.hand_over("checkpoint", lambda: fail(5))
    with pytest.raises(CheckpointError, match="number 5"):
        writer.close()


def test_what_is_handed_over_while_an_error_surfaces_is_not_lost() -> None:
    writer, calls = BackgroundWriter(), []

    def fail() -> None:
        raise CheckpointError("no")

    writer.hand_over("checkpoint", fail)
    while writer._failed == {}:
        time.sleep(0.001)
    with pytest.raises(CheckpointError, match="no"):
        writer.hand_over("checkpoint", lambda: calls.append(1))
    writer.close()  # the later success has made it good
    assert calls == [1]


def test_a_writer_that_wrote_nothing_closes() -> None:
    before = threading.active_count()
    BackgroundWriter().close()
    assert threading.active_count() == before


def test_checkpoints_are_what_safetensors_reads(tmp_path: Path) -> None:
    """The file can be opened by anybody who has safetensors."""
    Checkpoints(tmp_path).save(1, a_state())
    with safetensors.safe_open(tmp_path / "generation-00000001" / "state.safetensors", "np") as file:
        assert sorted(file.keys()) == [
            "/strategy/centre_P",
            "/strategy/optimizer/exp_avg",
            "/strategy/optimizer/step",
        ]
