"""Files written by hand, and files that are no configuration at all: plain values, or a sentence with the line."""

import contextlib
import math
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distes.api.configuration import yaml_text
from distes.api.configuration.layers import MAX_BYTES, read_file
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.errors import ConfigurationError, DistesError

READ = {
    "1e-3": 0.001,
    "-1E+6": -1e6,
    ".5": 0.5,
    "1_000": 1000,
    "010": "010",  # neither 8, as in YAML 1.1, nor silently 10
    "1:30": "1:30",  # not 90
    "10:59": "10:59",
    "0x1f": 31,
    "0o17": 15,
    "0b11": 3,
    "2020-01-01": "2020-01-01",
    "=": "=",
    "yes": True,
    "off": False,
    "~": None,
    "'no'": "no",
    "{a: &x {k: 1}, b: {<<: *x, k: 2}, c: {<<: *x}}": {"a": {"k": 1}, "b": {"k": 2}, "c": {"k": 1}},
    "\ufeffa: 1": {"a": 1},
    "": None,
    "# nothing": None,
}


@pytest.mark.parametrize("text", READ, ids=repr)
def test_what_is_read(text: str) -> None:
    value = yaml_text.read(text)
    assert value == READ[text] and type(value) is type(READ[text])
    assert yaml_text.read(yaml_text.write(value)) == value


@pytest.mark.parametrize("text", ["010", "1:30", "-012", "1:30:59.5", "=", "0o17", "2020-01-01", "1e3", "yes", "<<"])
def test_texts_like_numbers_are_quoted_for_other_readers(text: str) -> None:
    assert yaml_text.write({"a": text}) == f"a: '{text}'\n"


def bomb(opening: str, closing: str) -> str:
    """Nine levels of nine aliases: 9^9 values from 500 bytes."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {opening}{', '.join([f'*a{i - 1}'] * 9)}{closing}" for i in range(1, 10)]
    return "\n".join(lines)


REFUSED = {
    bomb("[", "]"): r"line 7: malformed YAML, more than 200,000 values",
    bomb("{<<: [", "]}"): r"line 7: malformed YAML, more than 200,000 values",
    "a: &a [*a]": r"line 1: malformed YAML, an alias stands within what it repeats",
    "- " * 200: r"line 1: malformed YAML, nested too deeply, by more than 50 levels",
    "[" * 3000: r"malformed YAML, nested too deeply",
    "b: 1\nseed: {{ seed }}": r"line 2: malformed YAML, a mapping stands where a key should \(a value that begins",
    "[1, 2]: 3": r"line 1: malformed YAML, a sequence stands where a key should",
    "? {a: 1}\n: 2": r"line 1: malformed YAML, a mapping stands where a key should",
    "? - a\n: 2": r"line 1: malformed YAML, a sequence stands where a key should\.$",
    "{.nan: 1}": r"line 1: malformed YAML, '.nan' cannot be a key",
    "!!set : 1": r"line 1: malformed YAML, '' cannot be a key",
    "1: a\n0x1: b": r"line 2: malformed YAML, '0x1' stands twice",
    "a:\n  b: 1\n  b: 2": r"line 3: malformed YAML, 'b' stands twice",
    "a: 1\nb: !!bool x": r"line 2: malformed YAML, 'x' is not of type bool",
    "!!int ''": r"line 1: malformed YAML, '' is not of type int",
    "!!timestamp x": r"line 1: malformed YAML, 'x' is not of type timestamp",
    "!!map [1]": r"line 1: malformed YAML, expected a mapping node",
    "!!python/object/apply:os.system [true]": r"line 1: malformed YAML, could not determine a constructor for the tag",
    "a: !mine b": r"line 1: malformed YAML, could not determine a constructor for the tag '!mine'",
    "!!set {a}": r"only mappings, lists, texts, numbers, true, false and null",
    "a: " + "9" * 5000: r"line 1: malformed YAML, '99999.{,60} is not of type int\.$",
    "a: 0x" + "f" * 5000: r"line 1: malformed YAML, '0xfff.{,60} is too large for a whole number\.$",
    "a: 1\n---\nb: 2": r"line 2: malformed YAML, a second document begins",
    "a: 1\n\tb: 2": r"line 2: malformed YAML",
    "a: 1\nb: \x07": r"line 2: malformed YAML, the character '\\x07' is not allowed",
    "a: *b": r"line 1: malformed YAML, found undefined alias 'b'",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:25]))
def test_what_is_refused(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        yaml_text.read(text)
    assert re.search(REFUSED[text], str(caught.value)), caught.value
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("key", ["task.env_kwargs", "task.env", "policy.hidden_sizes", "strategy.sigma", "seed"])
@pytest.mark.parametrize("text", ["{" + bomb("[", "]").replace("\n", ", ") + "}", bomb("[", "]")])
def test_texts_that_are_read_once_more_where_a_mapping_is_wanted(tmp_path: Path, key: str, text: str) -> None:
    section, _, name = key.rpartition(".")
    value = {name: text} if not section else {section: {"init_args": {name: text}}}
    (tmp_path / "conf.yaml").write_text(yaml_text.write(value))
    for argv in ([f"--{key}", text], ["--config", str(tmp_path / "conf.yaml")]):
        with pytest.raises(ConfigurationError, match=f"{key} must be .*; got"):
            configure(read_flags(argv))


def test_such_texts_in_a_list() -> None:
    with pytest.raises(ConfigurationError, match=r"policy.hidden_sizes must be a list of int; got "):
        configure(read_flags(["--policy.hidden_sizes", yaml_text.write([3, bomb("[", "]")])]))


def test_texts_with_the_signs_of_aliases_are_texts() -> None:
    assert configure(read_flags(["--task.env", "*a & b"]))["task"]["init_args"]["env"] == "*a & b"


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_file(path)
    return str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "conf.yaml"
    for content in ("seed: 1".encode("utf-16"), "env: Caf\u00e9".encode("latin-1"), os.urandom(3) + b"\xff"):
        path.write_bytes(content)
        assert refused(path) == f"The configuration {path} is not a text in UTF-8."
    path.write_bytes("seed: 3".encode("utf-8-sig"))
    assert read_file(path).values == {"seed": 3}
    assert "cannot be read: Is a directory" in refused(tmp_path)
    assert "cannot be read: " in refused(Path("a\0b"))


def test_a_file_that_is_longer_than_any_configuration(tmp_path: Path) -> None:
    (tmp_path / "conf.yaml").write_bytes(b"# " + b"x" * MAX_BYTES)
    assert refused(tmp_path / "conf.yaml").endswith("longer than 1,048,576 bytes, which no configuration is.")
    assert "longer than 1,048,576 bytes" in refused(Path("/dev/zero"))


def test_a_pipe_is_read_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the shell makes it for `--config <(sed ... base.yaml)`."""
    read, write = os.pipe()
    writer = threading.Thread(target=lambda: (time.sleep(0.2), os.write(write, b"seed: 5"), os.close(write)))
    writer.start()
    assert read_file(f"/dev/fd/{read}").values == {"seed": 5}
    writer.join()
    os.close(read)
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("distes.api.configuration.layers.PIPE_SECONDS", 0.1)
    assert "cannot be read: nothing has come out of it for 0.1 seconds" in refused(tmp_path / "pipe")


def test_a_sentence_names_the_file_and_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "conf.yaml"
    path.write_text("seed: 1\ntask: {{ name }}")
    assert main(["--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}, line 2: malformed YAML, a mapping stands where a key")


def test_flags_that_nest_deeper_than_any_configuration() -> None:
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        configure(read_flags(["--task.env_kwargs" + ".a" * 2000, "1"]))


@pytest.mark.parametrize("text", [r'run_dir: "a\0b"', r'run_dir: "\ud800"'])
def test_a_path_that_no_file_can_have(tmp_path: Path, text: str) -> None:
    (tmp_path / "conf.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"run_dir must be a path; got '"):
        configure(read_flags(["--config", str(tmp_path / "conf.yaml")]))


WORDS = [
    "seed",
    "task",
    "noise",
    "strategy",
    "init_args",
    "sigma",
    "class_path",
    "OpenAIES",
    "env_kwargs",
    "1e300",
    "010",
]
PIECES = st.sampled_from(
    [
        *WORDS,
        *"{}[]:,-?&*!|>'\"%@`#~<=\n\t ",
        ": ",
        "\n  ",
        "- ",
        "&a ",
        "*a",
        "<<: *a",
        "!!int ",
        "!!set ",
        "---\n",
        "\ufeff",
    ]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | TEXTS.map(str.encode))
def test_any_bytes_are_a_configuration_or_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    with contextlib.suppress(DistesError):
        made: dict[str, Any] = configure(read_flags(["--config", str(path)]))
        assert yaml_text.read(yaml_text.write(made)) == made


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(LEAVES, inner, max_size=4)))
def test_what_is_written_is_read_back(value: Any) -> None:
    """Numbers beyond the largest float aside, which no file may hold."""
    text = yaml_text.write(value)
    numbers = [int(word) for word in re.findall(r"\d{300,}", text)]
    if not any(number.bit_length() > yaml_text.MAX_BITS for number in numbers):
        assert yaml_text.read(text) == value


def test_infinity_and_numbers_too_large_for_a_float() -> None:
    assert yaml_text.read("[.inf, -.inf, 1e400]") == [math.inf, -math.inf, math.inf]
