"""The commands: help, configurations by name, what a run would do, completion, and the look at the installation."""

import argparse
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import distes
from distes.api.configuration import key_table, shipped
from distes.api.configuration.classes import CLASSES
from distes.api.configuration.synonyms import SYNONYMS
from distes.api.running import doctor
from distes.cli import COMMANDS, main
from distes.cli.completion import ZSH, bash, fish
from distes.cli.help import COMMON, PURPOSES
from distes.cli.options import EVERY, OPTIONS, Values
from distes.errors import ConfigurationError
from tests.support.small import ROOT

FUNCTION = ["--task", "Function", "--policy", "Linear", "--workers", "0", "--noise.size", "5000"]


def test_the_table_of_keys_is_that_of_the_constructors() -> None:
    same = key_table.FILE.read_text() == key_table.generate()
    assert same, "run python -m distes.api.configuration.key_table"


def test_help_describes_arguments_and_not_attributes_of_the_same_name() -> None:
    both = ("policy", "CausalLM"), ("task", "Language")
    helps = {key.name: key.help for section, name in both for key in key_table.described(section, name).keys}
    assert helps["policy.path"].startswith("A folder that save_pretrained")
    assert helps["task.prompts"].startswith("A .jsonl file with an object per line")


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_is_one_screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["train", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= int(columns)
    assert all(any(line.startswith(f"  --{key} ") for line in lines) for key in COMMON)
    assert any(line.split()[:2] == ["--strategy.sigma", "0.1"] for line in lines)


ASKED = [[], ["--version"], ["train", "--help"], ["train", "--help", "all"], ["train", "--help", "strategy"]]
ASKED += [["train", "--help", "sigma"], ["--task.help", "Gym"], ["completion", "bash"], ["resume", "--help"]]


@pytest.mark.parametrize("argv", ASKED, ids=" ".join)
def test_asking_imports_no_torch(argv: list[str]) -> None:
    code = f"import sys; from distes.cli import main; sys.exit(main({argv}) or 3 * ('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("sigma", "--strategy.sigma_max_change float   (of PGPE)"),
        ("lr", "--strategy.learning_rate "),
        ("strategy", PURPOSES["NSRAES"]),
        ("PGPE", "--strategy.radius "),
        ("config", "  halfcheetah "),
        ("all", "--noise.size int"),
    ],
)
def test_help_finds_the_rest(capsys: pytest.CaptureFixture[str], word: str, shown: str) -> None:
    assert main(["train", "--help", word]) == 0
    assert shown in capsys.readouterr().out


def test_help_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help", "xyzzy"]) == 2
    assert "No key has 'xyzzy' in its name or its description." in capsys.readouterr().err


def test_every_strategy_is_for_something() -> None:
    assert set(PURPOSES) == set(CLASSES["strategy"])
    assert all(len(purpose) <= 62 for purpose in PURPOSES.values())


def test_without_arguments_there_is_an_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"distes {distes.__version__}\n"


def test_a_file_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path(shipped.locate("maze")).resolve() == ROOT / "configs" / "maze.yaml"
    (tmp_path / "maze").write_text("seed: 3")
    assert shipped.locate("maze") == "maze"
    with pytest.raises(ConfigurationError, match=r"comes with distes\. Did you mean 'halfcheetah'\? .*, halfcheetah, "):
        shipped.locate("halfcheeta")


def test_a_configuration_that_is_not_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config"]) == 2
    assert (
        "config needs a value: --config NAME, one of those that come with distes (acrobot," in capsys.readouterr().err
    )


def test_a_printed_configuration_is_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FUNCTION, "--strategy.sigma", "0.3", "--print_config"]) == 0
    first = capsys.readouterr().out
    assert yaml.safe_load(first)["strategy"]["init_args"]["sigma"] == 0.3
    (tmp_path / "again.yaml").write_text(first)
    assert main(["train", "--config", str(tmp_path / "again.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == first


def test_a_dry_run_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distes.pools.worker.Worker.evaluate", lambda *_: pytest.fail("it evaluates"))
    assert main(["train", *FUNCTION, "--strategy.population_size", "300", "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "300 members a generation" in out and "20.0 kB once per node" in out
    assert not list(tmp_path.iterdir())


def test_quiet_shows_only_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", *FUNCTION, "--generations", "2", "--quiet", "--run_dir", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("Done (generations, ")
    assert main(["resume", run, "--generations", "3", "--quiet"]) == 0


@pytest.mark.parametrize("name", ["lr", "popsize", "num_workers", "env_id", "noise_std", "epochs", "logdir", "out"])
def test_names_of_other_libraries_are_hinted(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["train", f"--{name}", "1"]) == 2
    ours = SYNONYMS[name]
    assert f"'{name}' is not a key" in (err := capsys.readouterr().err)
    assert f"{ours}'?" in err


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["distes", "do"], ["doctor"]),
        (["distes", "train", "--strategy.sig"], ["--strategy.sigma"]),
        (["distes", "train", "--strategy", "NS"], ["NSES", "NSRES", "NSRAES"]),
        (["distes", "train", "--config", "halfch"], ["halfcheetah"]),
        (["distes", "train", "--device", ""], ["auto", "cpu", "cuda"]),
        (["distes", "train", "--device", "=", "c"], ["cpu", "cuda"]),
        (["distes", "sweep", "--se"], ["--seed", "--seeds"]),
        (["distes", "play", "--pol"], ["--policy"]),
        (["distes", "play", "runs", "--policy", ""], ["best", "last"]),
        (["distes", "train", "--policy", "M"], ["MLP"]),
        (["distes", "plot", "--kind", "p"], ["population", "path"]),
        (["distes", "plot", "-x", "t"], ["timesteps"]),
        (["distes", "export", "runs", "-"], ["--onnx", "--torch_export", "--policy", "--trust", "--debug", "--help"]),
        (["distes", "vine", "ru"], ["runs"]),
        (["distes", "resume", "ru"], ["runs"]),
        (["distes", "completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], completed: list[str]) -> None:
    (tmp_path / "complete.sh").write_text(bash())
    (tmp_path / "runs").mkdir()
    line = " ".join(f"'{word}'" for word in words)
    script = f"source ./complete.sh; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _distes; "
    script += "printf '%s\\n' \"${COMPREPLY[@]}\"; complete -p distes >&2"
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert set(completed) <= set(done.stdout.split()), done
    assert "-F _distes distes" in done.stderr


TYPED = [("do", "doctor"), ("play --pol", "--policy"), ("plot --kind pop", "population")]
TYPED += [("train --config halfch", "halfcheetah")]


@pytest.mark.parametrize("command", OPTIONS)
def test_the_table_of_options_is_that_of_the_parsers(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If this fails, write the option into distes/cli/options.py."""
    found: dict[str, Values] = {}

    def read(parser: argparse.ArgumentParser, argv: object) -> None:
        for action in parser._actions:
            for option in action.option_strings:
                takes = tuple(map(str, action.choices)) if action.choices else "file" if action.type is Path else "text"
                found[option] = None if action.nargs == 0 else takes  # type: ignore[assignment]
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", read)
    with pytest.raises(SystemExit):
        main([command])
    assert found == {**OPTIONS[command], **EVERY, "-h": None}


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("do", "doctor"),
        ("play --pol", "--policy"),
        ("plot --kind pop", "population"),
        ("train --config halfch", "halfcheetah"),
    ],
)
def test_fish_completes(line: str, completed: str, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("needs fish: apt-get install fish")
    (tmp_path / "distes.fish").write_text(fish())
    script = f"source distes.fish; complete -C 'distes {line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed in done.stdout.split(), done


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("do", "doctor"),
        ("play --pol", "--policy"),
        ("plot --kind pop", "population"),
        ("train --config halfch", "halfcheetah"),
    ],
)
def test_zsh_completes(line: str, completed: str, tmp_path: Path) -> None:
    """In a zsh on a pseudo-terminal, with the Tab key."""
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh: apt-get install zsh")
    (tmp_path / "complete.zsh").write_text(ZSH + bash())
    start = (
        "autoload -U compinit && compinit -u; source ./complete.zsh; PS1='> '; distes() { print -r -- \"got:$*\" }\n"
    )
    master, slave = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        cwd=tmp_path,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        env={**os.environ, "HOME": str(tmp_path), "TERM": "dumb"},
    )
    try:
        os.write(master, start.encode())
        time.sleep(2)
        os.write(master, f"distes {line}\t\n".encode())
        seen, until = "", time.monotonic() + 30
        while f"got:{line.rpartition(' ')[0]}".strip() not in seen and time.monotonic() < until:
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 65536).decode(errors="replace")
        time.sleep(0.5)
        if select.select([master], [], [], 1)[0]:
            seen += os.read(master, 65536).decode(errors="replace")
    finally:
        shell.kill()
        shell.wait()
        os.close(master)
        os.close(slave)
    assert completed in seen.rpartition("got:")[2], seen


def test_fish_knows_every_command() -> None:
    assert all(f"-a {command} " in fish() for command in COMMANDS)


def test_the_doctor_finds_this_installation_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "ok self-test" in out and "distes can train here." in out


def test_the_doctor_finds_what_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    digests = iter(["a" * 64, "b" * 64])
    monkeypatch.setattr(doctor, "_trained", lambda: (-1.0, 0.0, next(digests)))
    monkeypatch.setattr(doctor, "REQUIRED", ("no-such-package",))
    assert main(["doctor"]) == 2
    out = capsys.readouterr().out
    assert "two equal runs differ" in out and "!! no-such-package" in out
