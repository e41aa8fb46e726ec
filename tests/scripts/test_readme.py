"""What the README and the pages of docs/ show works as it stands there."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import torch
import yaml

import distes
from distes.api.configuration.keys import CLASSES
from distes.cli import COMMANDS
from distes.cli import main as launch
from distes.cli.flags import configure, read_flags

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if not path.is_relative_to(ROOT / "docs" / "_build") and not path.is_relative_to(ROOT / "docs" / "_root")
}
LINKING = {**PAGES, **{name: (ROOT / name).read_text() for name in ("CHANGELOG.md", "CONTRIBUTING.md")}}
ACTIVATION = "source .venv/bin/activate"
# What only the environment has: a name at the beginning of a command.
NEEDS_ACTIVATION = re.compile(r"(?:python|pip|ray|tensorboard|distes|pytest)(?= )")


def blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of a language."""
    return [
        text
        for language, text in re.findall(r"^```([\w{}-]*)\n(.*?)^```", PAGES[page], re.DOTALL | re.M)
        if language == kind
    ]


def commands(page: str) -> list[str]:
    """The lines of a page's shell blocks, continued ones joined."""
    return [line for text in blocks(page, "bash") for line in text.replace("\\\n", " ").splitlines() if line]


def program(page: str, what: str) -> str:
    """The one Python program of a page that has this in it."""
    (found,) = (text for text in blocks(page, "python") if what in text)
    return found


SEEDS = re.compile(r"distes train .*--seeds")  # a sweep
TRAIN = re.compile(r"python scripts/launch\.py|(?:^| )distes train(?= |$)")
LAUNCHES = {
    f"{page}: {line}": shlex.split(line[found.end() :].partition(" > ")[0], comments=True)
    for page in PAGES
    if page != "docs/extend.md"  # whose classes are elsewhere: test_extend.py runs its commands
    for line in commands(page)
    if (found := TRAIN.search(line.partition(" #")[0]))
    and not re.search(r"--resume|--help|--seeds|\$|my_package", line)
}
# The other commands, but for those of comparing.md, which are run.
PARSED = {
    f"{page}: {line}": shlex.split(line.removeprefix("distes "), comments=True)
    for page in PAGES
    if page != "docs/comparing.md"
    for line in commands(page)
    if re.match(f"distes (?!train)({'|'.join(COMMANDS)})", line)
    or (line.startswith("distes train") and "--seeds" in line)
}


def test_the_ten_lines_of_python_give_what_make_run_gives(tmp_path: Path) -> None:
    text = program("docs/python.md", "distes.Trainer")
    assert len([line for line in text.splitlines() if line]) <= 10
    run = tmp_path / "run"
    assert launch(["--workers", "0", "--run_dir", str(run)]) == 0
    digest = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["params/sha256"]
    done = subprocess.run(
        [sys.executable, "-c", f"{text}\nimport hashlib; print(hashlib.sha256(strategy.centre_P.data).hexdigest())"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "reason='target_fitness'" in done.stdout
    assert float(re.search(r"eval_mean=([\d.]+)", done.stdout)[1]) >= 475
    assert "eval_episodes=100" in done.stdout
    assert done.stdout.splitlines()[-1] == digest


def test_a_loop_of_one_s_own_finds_the_top_of_a_sphere() -> None:
    names: dict[str, Any] = {}
    exec(program("docs/strategies.md", "strategy.ask()"), names)
    assert np.square(names["strategy"].centre_P).sum() < 1e-6
    assert torch.cat([parameter.flatten() for parameter in names["policy"].parameters()]).abs().max() < 1e-3


@pytest.mark.timeout(600)  # processes of trials start slowly on a busy machine
@pytest.mark.parametrize(
    ("page", "what", "package"),
    [
        ("README.md", "distes.train", "distes"),
        pytest.param("docs/quickstart.md", "distes.train", "distes", marks=pytest.mark.slow),
        pytest.param("docs/saving.md", "distes.train", "distes", marks=pytest.mark.slow),
        pytest.param("docs/supervised.md", "distes.train", "sklearn", marks=pytest.mark.slow),
        ("docs/virtual_batch_normalization.md", "distes.train", "distes"),
        pytest.param("docs/python.md", "distes.resume", "distes", marks=pytest.mark.slow),
        pytest.param("docs/python.md", "optuna", "optuna", marks=pytest.mark.slow),
        pytest.param("docs/python.md", "tune.Tuner", "ray.tune", marks=pytest.mark.slow),
    ],
)
def test_training_from_python_works_as_shown(
    page: str, what: str, package: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip(package, exc_type=ImportError)
    # Ray, which Tune starts, looks for a cluster in its folder, and would wait for one that another test has ended
    rays = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # short, since sockets lie in it
    request.addfinalizer(lambda: shutil.rmtree(rays, ignore_errors=True))
    done = subprocess.run(
        [sys.executable, "-c", program(page, what)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(rays)},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").is_dir() and re.search(r"Run\(|'sigma': 0\.|(?m:^\[.*\] \d)", done.stdout)


def test_a_sweep_from_python_works_as_shown(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = subprocess.run(
        [sys.executable, "-c", program("docs/comparing.md", "distes.sweep")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").rglob("result.json"))) == 6 and "95% interval" in done.stdout
    assert (tmp_path / "sphere.svg").read_text().count("learning_rate=") == 2


COMPARING = [
    line.partition("distes ")[2]
    for line in commands("docs/comparing.md")
    if re.match("distes (plot|compare|sweep)", line)
]


@pytest.mark.parametrize("line", COMPARING)
def test_commands_that_compare_are_understood(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small sweep in the place of the page's, whose runs would take minutes."""
    monkeypatch.chdir(tmp_path)
    command, *flags = shlex.split(line, comments=True)
    small = ["--workers=0", "--noise.size=100000", "--final_episodes=0", "--keep_checkpoints_every=1"]
    values = ["--strategy.sigma=0.02,0.1", "--seeds=0..1", "--run_dir=runs/pendulum"]
    if command == "sweep":
        assert launch([command, *flags, "--dry_run"]) == 0
        return
    task = ["--task=Function", "--policy=Linear", "--generations=3", "--monitors=[]"]
    assert launch(["sweep", *small, *values, *task]) == 0
    if command == "plot":
        pytest.importorskip("matplotlib")
    assert launch([command, *flags]) == 0


def test_every_program_is_run_by_a_test() -> None:
    found = {page: len(blocks(page, "python")) for page in PAGES if blocks(page, "python")}
    of_strategies = {page: found.pop(page) for page in list(found) if page.startswith("docs/strategies/")}
    assert set(of_strategies.values()) == {1}  # by test_strategy_pages.py
    assert found == {
        "README.md": 1,
        "docs/ask_and_tell.md": 3,  # by test_ask_and_tell.py
        "docs/comparing.md": 1,
        "docs/extend.md": 6,  # by test_extend.py
        "docs/language.md": 1,  # by tasks/language/test_page.py
        "docs/python.md": 4,
        "docs/quickstart.md": 1,
        "docs/saving.md": 2,  # one by test_language_model.py
        "docs/strategies.md": 1,
        "docs/supervised.md": 1,
        "docs/virtual_batch_normalization.md": 1,
    }


@pytest.mark.parametrize("page", ["README.md", pytest.param("docs/reproducibility.md", marks=pytest.mark.slow)])
@pytest.mark.alone
def test_the_check_of_the_promise_finds_two_runs_identical(page: str, tmp_path: Path) -> None:
    (text,) = (text for text in blocks(page, "bash") if "echo identical" in text)
    shown = text[re.search(r"^(python scripts/launch|distes train)", text, re.M).start() :]
    script = re.sub(
        r"^(python scripts/launch\.py|distes train)",
        f"{shlex.quote(sys.executable)} -m distes train",
        shown,
        flags=re.M,
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "identical"
    lines = (tmp_path / "runs" / "on-ray" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) > 1 and all('"params/sha256": "' in line for line in lines)  # what the command looks for is there


@pytest.mark.parametrize("flags", LAUNCHES.values(), ids=LAUNCHES)
def test_the_commands_are_understood(flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for flag in flags:
        if re.fullmatch(r"\w+\.yaml", flag):  # a file of the reader
            monkeypatch.chdir(tmp_path)
            Path(flag).write_text("seed: 1")
    assert configure(read_flags(flags))["task"]["class_path"] in CLASSES["task"]


@pytest.mark.parametrize("text", blocks("docs/coming_from.md", "yaml"))
def test_the_configurations_of_other_libraries_are_understood(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    configuration = configure(read_flags(["--config", str(tmp_path / "mine.yaml")]))
    given = yaml.safe_load(text)
    for section in ("task", "policy", "strategy"):
        assert configuration[section]["init_args"].items() >= given[section]["init_args"].items()
    assert len(blocks("docs/coming_from.md", "yaml")) == 5


@pytest.mark.parametrize("line", PARSED.values(), ids=PARSED)
def test_the_other_commands_are_understood(line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, *flags = line
    if command == "resume":
        assert read_flags(["--resume", *flags]).resume == flags[0]
    elif command == "sweep" or "--seeds" in flags:
        monkeypatch.chdir(tmp_path)
        for flag in flags:
            if flag.endswith(".yaml"):
                Path(flag).write_text("seed: 1")
        assert launch([command, *flags, "--dry_run"]) == 0
    else:
        module = import_module(f"distes.cli.{command}")
        does = "guarded" if hasattr(module, "guarded") else "work_of_command"
        monkeypatch.setattr(module, does, lambda *_, **__: 7)  # what it would do; an unknown flag exits with 2
        assert module.main(flags) == (0 if command == "completion" else 7)


def test_there_are_commands() -> None:
    assert len(LAUNCHES) >= 12
    assert {name.partition(":")[0] for name in LAUNCHES} >= {"docs/train.md", "docs/clusters.md"}
    assert {words[0] for words in PARSED.values()} >= {"play", "resume", "export", "plot", "compare", "sweep", "vine"}


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_what_two_pages_show_is_the_same() -> None:
    """The picture of one generation, and the order of the packages."""
    first, second = (blocks(page, "") for page in ("README.md", "docs/design.md"))
    for what in ("strategy.ask():", "cli > api > training"):
        (here,), (there,) = ([text for text in texts if what in text] for texts in (first, second))
        assert here == there
    curves = [
        [line for line in commands(page) if "runs/seeds" in line] for page in ("README.md", "docs/results/README.md")
    ]
    assert curves[0] == curves[1] and len(curves[0]) == 2


@pytest.mark.parametrize("page", LINKING)
def test_files_that_are_named_exist(page: str) -> None:
    for name in re.findall(
        r"(?<![\w/.])(?:distes|configs|scripts|docker|tests|docs(?!/_build))/[\w./]+\w\b(?![*-])", LINKING[page]
    ):
        assert (ROOT / name).exists(), name


def test_a_paper_leads_to_files() -> None:
    """Every algorithm is named, and each row of the table ends with files, not with folders."""
    table = PAGES["docs/design.md"].partition("## With a paper in hand")[2].partition("\n## ")[0]
    rows = [cells(line) for line in table.splitlines() if line.startswith("| ")][2:]
    assert all(re.fullmatch(r" `distes/[\w/]+\.py`(, `distes/[\w/]+\.py`)* ", row[-1]) for row in rows)
    bases = {"__init__", "base", "arguments", "adaptive", "ask_tell", "gaussian", "gradient", "safe_es"}
    for path in (ROOT / "distes" / "strategies").glob("*.py"):
        assert path.stem in bases or f"distes/strategies/{path.name}" in table, path.name


def anchors(text: str) -> set[str]:
    """What a heading is linked by: its words in lower case, joined by hyphens, without punctuation."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M)
    titles = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKING)
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(r"^```.*?^```", "", LINKING[page], flags=re.DOTALL | re.M)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = unquote(target).partition("#")
        path = ((ROOT / page).parent / name) if name else ROOT / page
        assert path.resolve().is_relative_to(ROOT) and path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


@pytest.mark.parametrize("index", ["docs", "docs/results"])
def test_an_index_names_every_page_of_its_folder(index: str) -> None:
    names = {Path(page).name for page in PAGES if str(Path(page).parent) == index} - {"README.md"}
    linked = set(re.findall(r"\]\((\w+\.md)\)", PAGES[f"{index}/README.md"]))
    assert linked == names


def test_the_api_has_every_public_name() -> None:
    shown = re.findall(r"^\.\. auto\w+:: distes\.(\w+)$", PAGES["docs/api.md"], re.M)
    assert ".. autoexception:: distes.errors.DistesError" in PAGES["docs/api.md"]
    assert sorted(shown) == sorted(set(distes.__all__) - {"DistesError"})


def test_the_readme_leads_to_the_documentation() -> None:
    assert "(docs/README.md)" in PAGES["README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_begins_with_a_title_and_a_sentence(page: str) -> None:
    title, empty, sentence = PAGES[page].splitlines()[:3]
    assert re.match(r"# \w", title) and not empty and re.match(r"\w", sentence)


@pytest.mark.parametrize("page", PAGES)
def test_what_needs_the_environment_comes_after_its_activation(page: str) -> None:
    """In shell blocks as well as within a line; a name that `make` runs, or a path into .venv, needs none."""
    text = PAGES[page]
    if page.startswith("docs/results/"):
        assert ACTIVATION in PAGES["docs/results/README.md"]  # once for all pages of the folder
        return
    places = [
        block.start(1) + line.start()
        for block in re.finditer(r"^```bash\n(.*?)^```", text, re.DOTALL | re.M)
        for line in re.finditer(r"^[ \t]*(?=\S)", block[1], re.M)
        if NEEDS_ACTIVATION.match(block[1], line.end())
    ]
    within = re.sub(r"^```.*?^```", lambda block: " " * len(block[0]), text, flags=re.DOTALL | re.M)
    places += [match.start() for match in re.finditer("`", within) if NEEDS_ACTIVATION.match(within, match.end())]
    if places:
        assert ACTIVATION in text, "no activation"
        early = [place for place in places if place < text.index(ACTIVATION)]
        assert not early, text[early[0] : early[0] + 60]


@pytest.mark.parametrize("page", LINKING)
def test_tables_are_rendered_as_tables(page: str) -> None:
    """A table ends at an empty line; whatever else follows it becomes a row. Rows have as many cells as the head."""
    lines = re.sub(r"^```.*?^```", "", LINKING[page], flags=re.DOTALL | re.M).splitlines()
    for before, after in pairwise(lines):
        if before.startswith("|") != after.startswith("|"):
            assert not (before.strip() and after.strip()), (before, after)
        elif before.startswith("|"):
            assert len(cells(before)) == len(cells(after)), (before, after)


def cells(row: str) -> list[str]:
    return re.split(r"(?<!\\)\|", row.strip().strip("|"))


def test_a_script_beside_the_clone_finds_what_is_installed(tmp_path: Path) -> None:
    """A clone in a folder named distes must not hide the package in it."""
    (tmp_path / "distes").mkdir()
    (tmp_path / "mine.py").write_text("import distes; print(distes.NoiseTable)")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "<class 'distes.noise.table.NoiseTable'>\n", done.stderr


@pytest.mark.parametrize("script", ["launch", "play"])
def test_another_interpreter_is_told_what_works(tmp_path: Path, script: str) -> None:
    (tmp_path / "scripts").mkdir()
    for name in (script, "instead"):
        (tmp_path / "scripts" / f"{name}.py").write_bytes((ROOT / "scripts" / f"{name}.py").read_bytes())
    bare = [sys.executable, "-S", "-E", f"scripts/{script}.py"]  # as an interpreter without any package
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert re.fullmatch(r"error: \w+ is not installed for .*: run `make setup` in .*activate`\n", done.stderr)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert f": use .venv/bin/python scripts/{script}.py, or first `source .venv/bin/activate`" in done.stderr


SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_explains_itself_without_the_peers_it_measures(path: Path) -> None:
    """What is imported at once is declared; peers are imported after the command line has been read."""
    allowed = {"distes", "scripts", "torch", "numpy", "ray", "gymnasium", "mujoco", "psutil", "yaml", "rich"}
    allowed |= {file.stem for file in [*SCRIPTS, *SCRIPTS[0].parent.iterdir()]} | set(sys.stdlib_module_names)
    roots = set()
    for statement in ast.parse(path.read_text()).body:
        for node in ast.walk(statement) if isinstance(statement, ast.Try) else [statement]:
            if isinstance(node, ast.Import):
                roots |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots.add((node.module or "").partition(".")[0])
    assert roots <= allowed
