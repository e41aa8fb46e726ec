"""A noise table that is found in shared memory is not trusted by its name and size alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.noise import table as module
from distes.noise.table import CHECKSUM, NUMBERS_PER_BLOCK, NoiseTable

SIZE = 2 * NUMBERS_PER_BLOCK + 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_FOLDERS", [tmp_path])
    return tmp_path


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, str]:
    """Name, content and fingerprint of a table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FOLDERS", [tmp_path_factory.mktemp("right")])
        table = NoiseTable(size=SIZE, seed=7)
        fingerprint = table.fingerprint
        (path,) = module._FOLDERS[0].iterdir()
        found = path.name, path.read_bytes(), fingerprint
        table.close()
    return found


def put(folder: Path, name: str, content: bytes, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_one_that_is_right_is_used_as_it_is(folder: Path, right: tuple[str, bytes, str]) -> None:
    name, content, fingerprint = right
    path = put(folder, name, content)
    before = path.stat().st_ino, path.stat().st_mtime_ns
    table = NoiseTable(size=SIZE, seed=7)
    assert table.fingerprint == fingerprint
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
    table.close()


@pytest.mark.parametrize(
    "where",
    [
        0,
        4 * NUMBERS_PER_BLOCK + 1,
        4 * SIZE - 1,
        4 * SIZE,
        "zeros",
        "another seed's",
        "open to others",
        "other numbers",
    ],
)
def test_one_that_is_not_is_made_anew(folder: Path, right: tuple[str, bytes, str], where: int | str) -> None:
    name, content, fingerprint = right
    harmed, mode = bytearray(content), 0o600
    match where:
        case int():
            harmed[where] ^= 1
        case "zeros":
            harmed = bytearray(len(content))
        case "open to others":
            mode = 0o666
        case "another seed's" | "other numbers":  # with a checksum that is right
            if where == "another seed's":
                generator = np.random.Generator(np.random.SFC64([8, 0]))
            else:
                generator = np.random.default_rng()
            numbers = generator.standard_normal(SIZE, dtype=np.float32)
            harmed = bytearray(numbers.tobytes() + module._fingerprint(numbers).encode())
    put(folder, name, bytes(harmed), mode)
    table = NoiseTable(size=SIZE, seed=7)
    assert table.fingerprint == fingerprint and table.numbers.tobytes() == content[:-CHECKSUM]
    (path,) = folder.iterdir()
    assert path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o600
    table.close()


def test_whoever_uses_a_harmed_one_keeps_it_and_the_next_makes_another(
    folder: Path, right: tuple[str, bytes, str]
) -> None:
    first = NoiseTable(size=SIZE, seed=7)
    assert first.numbers.tobytes() == right[1][:-CHECKSUM]
    (path,) = folder.iterdir()
    with path.open("r+b") as file:
        file.write(b"\0" * 100)
    second = NoiseTable(size=SIZE, seed=7)
    assert second.fingerprint == right[2] and second.numbers.tobytes() == right[1][:-CHECKSUM]
    for table in (first, second):
        table.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "another user's"])
def test_somebody_else_s_is_left_alone_and_another_folder_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, right: tuple[str, bytes, str], kind: str
) -> None:
    hostile, own = tmp_path / "hostile", tmp_path / "own"
    hostile.mkdir()
    own.mkdir()
    monkeypatch.setattr(module, "_FOLDERS", [hostile, own])
    mine = tmp_path / "mine"
    mine.write_text("precious")
    if kind == "link":
        (hostile / right[0]).symlink_to(mine)
    elif os.geteuid():
        pytest.skip("giving a file away takes root")
    else:
        os.chown(put(hostile, right[0], bytes(len(right[1])), 0o666), 12345, -1)
    table = NoiseTable(size=SIZE, seed=7)
    assert table.fingerprint == right[2]
    assert len(list(own.iterdir())) == 1 and mine.read_text() == "precious"
    table.close()
    monkeypatch.setattr(module, "_FOLDERS", [hostile])
    with pytest.raises(ConfigurationError, match="is a link, or somebody else's"):
        _ = NoiseTable(size=SIZE, seed=7).numbers
