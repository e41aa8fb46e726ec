"""The shared noise table: the same numbers for all, once per node, gone with its last user."""

import errno
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from distes.errors import ConfigurationError
from distes.noise import table as module
from distes.noise.table import CHECKSUM, NUMBERS_PER_BLOCK, NoiseTable
from tests.support.small import ROOT

# What a child process does: it takes the folder to use, a statement, and waits for a line when the statement says so.
CHILD = """
import pathlib, sys
from distes.noise import table as module
module._FOLDERS = [pathlib.Path(sys.argv[1])]
def table(size=3 * 2**20 + 5, dtype="float32", seed=7):
    return module.NoiseTable(size=size, dtype=dtype, seed=seed)
def wait():
    print("ready", flush=True)
    sys.stdin.readline()
exec(sys.argv[2])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of this process and of `child` lie here alone."""
    monkeypatch.setattr(module, "_FOLDERS", [tmp_path])
    return tmp_path


@pytest.fixture
def children(folder: Path) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(statement: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, str(folder), statement],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def is_ready(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "ready\n"


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate("\n", timeout=60)
    assert process.returncode == 0
    return output


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_processes_make_the_same_numbers(
    folder: Path, children: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each makes its own, since they look into different folders."""
    mine = NoiseTable(size=3 * 2**20 + 5, seed=7)
    elsewhere = tmp_path_factory.mktemp("another node")
    other = finish(children(f"module._FOLDERS = [pathlib.Path({str(elsewhere)!r})]; print(table().fingerprint)"))
    assert other.strip() == mine.fingerprint
    assert len(files(folder)) == 1 and mine.numbers.size == 3 * 2**20 + 5


def test_the_numbers_are_those_of_the_first_release(folder: Path) -> None:
    """Golden values of NumPy 2.4.6 on x86-64, printed by

        NoiseTable(size=2**20 + 3, seed=123).numbers[[0, 1, 2, 1000, -3, -2, -1]].tolist()

    A run's noise is part of the run: if this fails, runs made before cannot be repeated or resumed.
    """
    numbers = NoiseTable(size=NUMBERS_PER_BLOCK + 3, seed=123).numbers[[0, 1, 2, 1000, -3, -2, -1]]
    assert numbers.tolist() == pytest.approx(GOLDEN, rel=1e-6)


GOLDEN = [0.84341753, -1.0188626, 2.0668881, -1.1116325, 0.59069663, -0.38273934, -0.71241754]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_longer_table_begins_with_the_shorter_one(folder: Path, dtype: Any) -> None:
    shorter, longer = (
        NoiseTable(size=NUMBERS_PER_BLOCK + 1, dtype=dtype),
        NoiseTable(size=2 * NUMBERS_PER_BLOCK + 9, dtype=dtype),
    )
    np.testing.assert_array_equal(longer.numbers[: NUMBERS_PER_BLOCK + 1], shorter.numbers)
    assert not np.array_equal(
        longer.numbers[:NUMBERS_PER_BLOCK], longer.numbers[NUMBERS_PER_BLOCK : 2 * NUMBERS_PER_BLOCK]
    )


def test_numbers_do_not_depend_on_the_number_of_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for cores in (1, 5):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        table = NoiseTable(size=4 * NUMBERS_PER_BLOCK)
        seen.add((table.fingerprint, table.numbers.tobytes()))
        table.close()
    assert len(seen) == 1


def test_float16_is_float32_rounded(folder: Path) -> None:
    whole, half = NoiseTable(size=5000), NoiseTable(size=5000, dtype="float16")
    assert half.numbers.dtype == np.float16 and half.numbers.nbytes == 10_000
    np.testing.assert_array_equal(half.numbers, whole.numbers.astype(np.float16))


def test_the_numbers_are_normal(folder: Path) -> None:
    """Kolmogorov and Smirnov's distance, the first four moments and neighbours' products, over 4 million numbers."""
    x = np.sort(NoiseTable(size=2**22, seed=5).numbers.astype(np.float64))
    n = len(x)
    places = np.linspace(-4, 4, 4001)
    below = np.searchsorted(x, places, side="right") / n
    normal = [0.5 * (1 + math.erf(place / math.sqrt(2))) for place in places]
    assert np.abs(below - normal).max() < 1.95 / np.sqrt(n)  # the 0.1 % point of the distribution
    assert np.abs(np.array([(x**k).mean() for k in (1, 2, 3, 4)]) - [0, 1, 0, 3]).max() < 6 * np.sqrt(96 / n)
    y = NoiseTable(size=2**22, seed=5).numbers.astype(np.float64)
    for lag in (1, 2, NUMBERS_PER_BLOCK):
        assert abs((y[lag:] * y[:-lag]).mean()) < 6 / np.sqrt(n - lag)


def test_seeds_make_different_tables(folder: Path) -> None:
    tables = [NoiseTable(size=2**18, seed=seed) for seed in (0, 1, 2**63, 2**64 - 1)]
    for i, one in enumerate(tables):
        for other in tables[:i]:
            correlation = float((one.numbers * other.numbers).mean())
            assert abs(correlation) < 6 / np.sqrt(2**18)


def test_the_numbers_cannot_be_changed(folder: Path) -> None:
    numbers = NoiseTable(size=1000).numbers
    with pytest.raises(ValueError, match="read-only"):
        numbers[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        numbers.flags.writeable = True


def test_nothing_is_made_before_it_is_used(folder: Path) -> None:
    table = NoiseTable(size=2**40)
    assert pickle.loads(pickle.dumps(table)).size == 2**40
    assert files(folder) == []


def test_travels_without_its_numbers(folder: Path) -> None:
    table = NoiseTable(size=2**20, dtype="float16", seed=9)
    fingerprint = table.fingerprint
    data = pickle.dumps(table)
    assert len(data) < 200
    arrived = pickle.loads(data)
    assert (arrived.size, arrived.dtype, arrived.seed) == (2**20, np.float16, 9)
    assert arrived.fingerprint == fingerprint


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.filterwarnings("error")  # torch has one for arrays that cannot be written to
def test_as_a_tensor_it_is_the_same_memory(folder: Path, dtype: Any) -> None:
    table = NoiseTable(size=1000, dtype=dtype)
    tensor = table.tensor(torch.device("cpu"))
    assert tensor.shape == (1000,) and str(tensor.dtype) == f"torch.{dtype}"
    assert tensor.data_ptr() == table.numbers.ctypes.data
    assert table.tensor(torch.device("cpu")) is tensor
    assert len(pickle.dumps(table)) < 200


def test_a_tensor_outlives_its_table(folder: Path) -> None:
    table = NoiseTable(size=1000)
    tensor, numbers = table.tensor(torch.device("cpu")), table.numbers.copy()
    table.close()
    assert files(folder) == []
    np.testing.assert_array_equal(tensor, numbers)
    assert table.tensor(torch.device("cpu")) is not tensor  # `close` let go of it


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gpu_has_one_copy_until_it_is_closed(folder: Path, dtype: Any) -> None:
    before = torch.cuda.memory_allocated()
    table = NoiseTable(size=2**20, dtype=dtype)
    tensor = table.tensor(torch.device("cuda"))
    assert table.tensor(torch.device("cuda", 0)) is tensor
    np.testing.assert_array_equal(tensor.cpu(), table.numbers)
    assert torch.cuda.memory_allocated() - before == table.numbers.nbytes
    del tensor
    table.close()
    assert torch.cuda.memory_allocated() == before


def test_the_fingerprint_sees_a_single_changed_bit(folder: Path) -> None:
    table = NoiseTable(size=2 * NUMBERS_PER_BLOCK + 100, seed=3)
    fingerprint, numbers = table.fingerprint, table.numbers.copy()
    assert len(fingerprint) == 16 and int(fingerprint, 16) >= 0
    for place in (0, NUMBERS_PER_BLOCK - 1, NUMBERS_PER_BLOCK, 2 * NUMBERS_PER_BLOCK + 99):
        changed = numbers.copy()
        changed.view(np.uint32)[place] ^= 1
        other = NoiseTable(size=table.size, seed=3)
        other.__dict__["numbers"] = changed  # as a machine might have made them
        assert other.fingerprint != fingerprint


def test_the_fingerprint_depends_on_size_seed_and_dtype(folder: Path) -> None:
    tables: list[dict[str, Any]] = [{}, {"size": 1001}, {"seed": 124}, {"dtype": "float16"}]
    assert len({NoiseTable(**{"size": 1000, **table}).fingerprint for table in tables}) == 4


def test_the_file_goes_with_the_last_process(folder: Path, children: Any) -> None:
    first, second = children("t = table(); t.numbers; wait()"), children("t = table(); t.numbers; wait()")
    assert is_ready(first) and is_ready(second)
    assert len(files(folder)) == 1
    finish(first)
    assert len(files(folder)) == 1  # the second one uses it still
    finish(second)
    assert files(folder) == []


def test_closing_lets_go(folder: Path) -> None:
    table, other = NoiseTable(size=1000), NoiseTable(size=1000)
    fingerprint = table.fingerprint
    assert other.fingerprint == fingerprint and len(files(folder)) == 1
    table.close()
    assert len(files(folder)) == 1
    other.close()
    other.close()
    assert files(folder) == []
    assert table.fingerprint == fingerprint  # made again when it is needed again


def test_a_killed_process_leaves_nothing_for_long(folder: Path, children: Any) -> None:
    """Its file is removed by the next process that uses any table; the file of a living process is not."""
    killed, living = children("t = table(seed=1); t.numbers; wait()"), children("t = table(seed=2); t.numbers; wait()")
    assert is_ready(killed) and is_ready(living)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(files(folder)) == 2
    table = NoiseTable(size=1000, seed=3)
    assert table.numbers.size == 1000
    assert [name.split("-")[3] for name in files(folder)] == ["2", "3"]


def test_a_killed_process_s_file_is_used_again_if_it_is_the_one_needed(folder: Path, children: Any) -> None:
    killed = children("t = table(); print(t.fingerprint, flush=True); wait()")
    assert killed.stdout is not None
    fingerprint = killed.stdout.readline().strip()
    assert is_ready(killed)
    killed.kill()
    killed.wait()
    inode = next(folder.iterdir()).stat().st_ino
    table = NoiseTable(size=3 * 2**20 + 5, seed=7)
    assert table.fingerprint == fingerprint and next(folder.iterdir()).stat().st_ino == inode


# Says the table's fingerprint, and how often this process has made it.
COUNTED = """
made = []
make = module.NoiseTable._make
module.NoiseTable._make = lambda self, file, nbytes: (made.append(1), make(self, file, nbytes))
t = table()
print(t.fingerprint, len(made), flush=True)
wait()
"""


def test_four_processes_that_start_at_once_make_one_table(folder: Path, children: Any) -> None:
    started = [children(COUNTED) for _ in range(4)]
    lines = [process.stdout.readline().split() for process in started]
    assert len({fingerprint for fingerprint, _ in lines}) == 1
    assert sorted(int(made) for _, made in lines) == [0, 0, 0, 1]
    assert len(files(folder)) == 1


def test_a_half_written_file_is_made_anew(folder: Path, children: Any) -> None:
    """As a process leaves it that was killed while it made the table: too long by a byte, and full of zeros."""
    dying = children(
        """
import os
module.np.random.SFC64 = lambda seed: os.kill(os.getpid(), 9)
table().numbers
"""
    )
    assert dying.wait(60) == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.stat().st_size == 4 * (3 * 2**20 + 5) + CHECKSUM + 1
    table = NoiseTable(size=3 * 2**20 + 5, seed=7)
    assert table.numbers[-1] != 0 and table.numbers.std() == pytest.approx(1, abs=0.01)
    assert left.stat().st_size == table.numbers.nbytes + CHECKSUM


def test_whoever_waits_for_a_maker_that_dies_makes_it(folder: Path, children: Any) -> None:
    """The maker holds the lock and never gets on; the others wait; then it is killed."""
    maker = children(
        """
import sys, time
def stuck(seed):
    sys.stdout.write("making\\n")  # in one piece, since several threads make a table
    sys.stdout.flush()
    time.sleep(600)
module.np.random.SFC64 = stuck
table().numbers
"""
    )
    assert maker.stdout is not None and maker.stdout.readline() == "making\n"
    waiting = [children(COUNTED) for _ in range(2)]
    time.sleep(0.5)
    maker.kill()
    lines = [process.stdout.readline().split() for process in waiting]
    fingerprint = NoiseTable(size=3 * 2**20 + 5, seed=7).fingerprint
    assert sorted(lines) == [[fingerprint, "0"], [fingerprint, "1"]]


def test_a_fork_does_not_take_its_parent_s_table_away(folder: Path, children: Any) -> None:
    parent = children(
        """
import os
t = table()
t.numbers
if os.fork() == 0:
    t.close()
    os._exit(0)
os.wait()
wait()
"""
    )
    assert is_ready(parent)
    other = NoiseTable(size=100)  # its opening removes what nobody holds
    assert other.numbers.size == 100 and len(files(folder)) == 2


def test_full_shared_memory_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    full, roomy = tmp_path_factory.mktemp("full"), tmp_path_factory.mktemp("roomy")
    monkeypatch.setattr(module, "_FOLDERS", [full, roomy])
    monkeypatch.setattr("shutil.disk_usage", lambda path: USAGE(0, 0, 2**30 if path == roomy else 2**20))
    table = NoiseTable(size=2**20)
    assert table.numbers.size == 2**20
    assert files(full) == [] and len(files(roomy)) == 1


USAGE = namedtuple("USAGE", "total used free")


def test_no_room_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: USAGE(0, 0, 10**6))
    message = f"noise table of 400 MB finds no room in {folder}.*--noise.size.*--noise.dtype float16.*--shm-size"
    with pytest.raises(ConfigurationError, match=message):
        _ = NoiseTable(size=10**8).numbers
    assert files(folder) == []


def test_room_that_goes_meanwhile_is_a_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        ConfigurationError, match=r"table of 4 MB cannot be made in .*No space left on device.*--noise.size"
    ):
        _ = NoiseTable(size=10**6).numbers
    assert files(folder) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 1}, "^size must be at least 2 numbers; got 1"),
        ({"dtype": "float64"}, "^dtype must be 'float32' or 'float16'; got 'float64'"),
        ({"seed": -1}, r"^seed must be from 0 to 2\*\*64 - 1; got -1"),
        ({"seed": 2**64}, "^seed must be from 0"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        NoiseTable(**arguments)


@pytest.mark.slow
def test_one_copy_per_node_however_many_processes(folder: Path, children: Any) -> None:
    """Proportional set size: each page is counted in equal parts for those who map it. The table has 200 MB."""
    statement = "t = table(size=50_000_000); t.fingerprint; wait()"
    alone = children(statement)
    assert is_ready(alone)
    one = pss(alone)
    assert one > 200e6
    others = [children(statement) for _ in range(3)]
    assert all(is_ready(process) for process in others)
    four = sum(pss(process) for process in (alone, *others))
    assert four < one + 3 * 60e6  # three further interpreters with NumPy, and no further table
    assert 50e6 < pss(alone) < 50e6 + 60e6  # a quarter of it falls to each


def pss(process: subprocess.Popen[str]) -> int:
    """In bytes."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
