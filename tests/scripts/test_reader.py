"""What a reader does: installs a wheel, goes to an empty folder, and runs what README and pages show, line after line.

The wheel is new, and so is the environment it is installed into. Its dependencies are those of the environment that
runs the tests, by a .pth file: to download them again would take minutes. Trainings get small budgets; all else runs
as it is shown.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", *(f"docs/{name}.md" for name in ("install", "quickstart", "python", "saving", "comparing"))]
PAGES += [f"docs/{name}.md" for name in ("replay", "monitoring", "train")]
PACKAGES = ("matplotlib", "imageio_ffmpeg", "pygame", "mujoco", "onnxruntime", "onnxscript")
SMALL = "--workers 0 --noise.size 1000000 --eval_episodes 2 --final_episodes 2 --keep_checkpoints_every 1"
# What makes an installation, and what does not end: a server. `python scripts/benchmarks/...` needs the clone.
NOT_RUN = re.compile(r"(make|pip|python3 -m venv|source \.venv|tensorboard|sudo|ray)\b|python scripts/(?!launch|play)")

pytestmark = pytest.mark.slow


def lines(page: str) -> list[str]:
    """The lines of a page's shell blocks, continued ones joined."""
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.M)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def small(line: str) -> str:
    """A line with a small budget if it trains: the last value of a key counts."""
    line = re.sub(r"^python scripts/launch\.py", "distes train", line)  # the same program in a clone
    line = re.sub(r"^python scripts/play\.py", "distes play", line)
    shown = re.sub(r"\bconfigs/(\w+)\.yaml", r"\1", line.partition(" #")[0])  # a clone has the files, too
    trains = re.match(r"distes (train|sweep|resume)", shown)
    if not trains or re.search(r"--(help|dry_run|print_config|version)\b", shown):
        return shown
    if "--address" in shown:  # there is no cluster
        return f"{shown} --dry_run"
    few = " --task.max_steps 40" if "halfcheetah" in shown or "mine.yaml" in shown else ""
    generations = 8 if shown.startswith("distes resume") else 7
    budget = SMALL if not shown.startswith("distes resume") else "--workers 0 --final_episodes 2"
    return f"{shown} {budget} --generations {generations}{few}"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a fresh environment with a wheel of this tree."""
    for package in (*PACKAGES, "setuptools"):
        pytest.importorskip(package)
    place = tmp_path_factory.mktemp("fresh")
    tree, wheels, made = place / "tree", place / "wheels", place / "venv"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "distes", "configs"):  # setuptools writes beside them
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name, **({"symlinks": True} if copy is shutil.copytree else {}))
    quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", *quiet, "--no-build-isolation", "-w", wheels, tree], check=True, timeout=200)
    venv.create(made, with_pip=False, symlinks=True)
    (wheel,) = wheels.glob("distes-*.whl")
    subprocess.run([*pip, "--python", made / "bin/python", "install", *quiet, wheel], check=True, timeout=200)
    (site,) = made.glob("lib/python3*/site-packages")
    (site / "dependencies.pth").write_text("\n".join({sysconfig.get_path(name) for name in ("purelib", "platlib")}))
    return made / "bin"


def run(line: str, cwd: Path, programs: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(cwd), "TMPDIR": os.environ.get("TMPDIR", "/tmp")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=200
    )


def test_the_wheel_is_what_runs(fresh: Path, tmp_path: Path) -> None:
    shown = run("python -c 'import distes; print(distes.__file__)'; command -v distes", tmp_path, fresh).stdout
    assert shown.splitlines() == [
        str(next(fresh.parent.glob("lib/*/site-packages")) / "distes/__init__.py"),
        f"{fresh}/distes",
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if (ROOT / page).exists()])
@pytest.mark.timeout(600)
def test_a_page_s_commands_work_as_shown(page: str, fresh: Path, tmp_path: Path) -> None:
    shown = [small(line) for line in lines(page) if not NOT_RUN.match(line)]
    if any("RUN_DIR" in line for line in shown):
        begin = f"distes train --run_dir RUN_DIR --record_population true {SMALL} --generations 7"
        assert run(begin, tmp_path, fresh).returncode == 0
    for line in shown:
        assert re.match(r"(distes|diff|source <\(distes)\b", line), f"no test knows how to run this: {line}"
        done = run(line, tmp_path, fresh)
        if "--record" in line and "cannot be drawn" in done.stderr:
            continue  # a machine without OpenGL
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    made = {path.name for path in tmp_path.rglob("*")}
    for name in re.findall(r"(?:-o|--record|>) ([\w./-]+\.\w+)", " ".join(shown)):
        assert Path(name).name in made, name


def test_the_first_three_commands_train_plot_and_play_without_ray() -> None:
    first = [line for line in lines("README.md") if line.startswith("distes")][:3]
    assert [line.split()[1] for line in first] == ["train", "plot", "play"] and "--workers 0" in first[0]
