"""Looks at an installation: versions, GPU, memory, display, extras, a Ray token, and whether a tiny run trains."""

import ctypes.util
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distes import __version__
from distes.errors import PACKAGE
from distes.errors.installation import install

REQUIRED = (
    "torch",
    "numpy",
    "numba",
    "ray",
    "gymnasium",
    "tensorboard",
    "jsonargparse",
    "rich",
    "safetensors",
    "PyYAML",
)
EXTRAS = {  # the modules that show that an extra is there
    "mujoco": ("mujoco",),
    "warp": ("warp", "mujoco_warp"),
    "box2d": ("Box2D",),
    "atari": ("ale_py", "cv2"),
    "render": ("pygame",),
    "video": ("imageio", "imageio_ffmpeg", "PIL"),
    "envpool": ("envpool",),
    "llm": ("transformers",),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        text: What was found.
        level: "ok"; "note" for something that only some runs need; "fault" for what no run can do without.
    """

    name: str
    text: str
    level: str = "ok"


def examine() -> Iterator[Finding]:
    """Yields the findings one after the other. Starts no Ray, and writes no file besides the noise table's memory."""
    yield Finding("distes", f"{__version__} in {PACKAGE}")
    yield Finding("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in REQUIRED:
        try:
            yield Finding(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, f"not installed: pip install {name}", "fault")
    yield from _gpus()
    yield from _machine()
    yield _display()
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            yield Finding(f"[{extra}]", f"no {', '.join(missing)}: {install(extra)}", "note")
        else:
            yield Finding(f"[{extra}]", "installed")
    yield _token()
    yield _self_test()


def _gpus() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:
        yield Finding("GPU", f"torch cannot be imported: {error}", "fault")
        return
    if count := torch.cuda.device_count():
        for number in range(count):
            yield _gpu(number)
        return
    if torch.version.cuda is None:
        yield Finding("GPU", "none: this build of torch is for CPUs only", "note")
        return
    why = "no device is visible" if shutil.which("nvidia-smi") else "no NVIDIA driver is installed"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    yield Finding("GPU", f"none: {why} (CUDA_VISIBLE_DEVICES: {visible})", "note")


def _gpu(number: int) -> Finding:
    """One that the driver counts; whether this torch can use it is another question."""
    import torch

    name = f"GPU {number}"
    try:
        found = torch.cuda.get_device_properties(number)
    except (RuntimeError, AssertionError) as error:  # such as a driver that is too old for this torch
        return Finding(name, " ".join(str(error).partition("\n")[0].split()), "fault")
    built = torch.cuda.get_arch_list()
    mine, what = f"sm_{found.major}{found.minor}", f"{found.name}, {found.total_memory / 2**30:.0f} GiB"
    if built and not any(one.startswith(f"sm_{found.major}") or one.startswith("compute_") for one in built):
        return Finding(name, f"{what}, {mine}: torch {torch.__version__} is built for {', '.join(built)}", "fault")
    return Finding(name, f"{what}, {mine}, CUDA {torch.version.cuda}")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    yield Finding("machine", f"{cores} cores, {memory:.1f} GB of memory")
    shared = Path("/dev/shm")
    if not shared.is_dir():
        yield Finding("/dev/shm", "there is none: the noise table lies in the folder for temporary files", "note")
    elif not os.access(shared, os.W_OK):
        yield Finding("/dev/shm", "cannot be written: Ray cannot start (docker run --shm-size=1g)", "note")
    else:
        free = shutil.disk_usage(shared).free
        small = free < 512e6
        hint = "; Ray needs more (docker run --shm-size=1g)" if small else ""
        yield Finding("/dev/shm", f"{free / 1e9:.1f} GB free{hint}", "note" if small else "ok")


def _display() -> Finding:
    if found := [name for name in ("DISPLAY", "WAYLAND_DISPLAY") if os.environ.get(name)]:
        return Finding("display", f"{found[0]}={os.environ[found[0]]}")
    if ctypes.util.find_library("EGL"):
        return Finding("display", "none, but EGL is there: films work, windows do not")
    return Finding("display", "neither a display nor EGL: MuJoCo cannot be filmed (install libegl1)", "note")


def _token() -> Finding:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    try:
        mode = stat.S_IMODE(Path(path).stat().st_mode)
    except OSError:
        return Finding("Ray's token", "none: only clusters without authentication can be joined")
    if mode & 0o077:
        return Finding("Ray's token", f"{path} is open to other users: chmod 600 {path}", "note")
    return Finding("Ray's token", f"{path}, readable by you alone")


def _self_test() -> Finding:
    try:
        first, second = _trained(), _trained()
    except Exception as error:
        return Finding("self-test", f"{type(error).__name__}: {error}", "fault")
    (before, after, digest), again = first, second[2]
    if digest != again:
        return Finding("self-test", f"two equal runs differ: {digest[:12]}, {again[:12]}", "fault")
    if not after > before:
        return Finding("self-test", f"the fitness of a sphere fell from {before:.3g} to {after:.3g}", "fault")
    return Finding("self-test", f"fitness from {before:.3g} to {after:.3g}, twice with params/sha256 {digest[:12]}")


def _trained() -> tuple[float, float, str]:
    """Trains on a sphere in this process; returns the first and the last fitness, and the parameters' SHA-256."""
    import numpy as np

    from distes.noise.table import NoiseTable
    from distes.perturbations.dense import Dense
    from distes.policies.layout import Layout
    from distes.policies.linear import Linear
    from distes.pools.experiment import Experiment
    from distes.pools.serial import SerialPool
    from distes.strategies.openai_es import OpenAIES
    from distes.tasks.functions import Function
    from distes.training.trainer import Trainer

    task, policy, noise = Function(dimension=5), Linear(1, 5, bias=False), NoiseTable(size=10_000)
    layout = Layout(policy)
    dense = Dense(noise, layout)
    strategy = OpenAIES(np.ones(layout.size, np.float32), dense)
    pool = SerialPool(Experiment.of(task, policy, dense, noise))
    before = -float(np.square(np.ones(layout.size)).sum())
    trainer = Trainer(task=task, strategy=strategy, noise=noise, pool=pool, generations=20, final_episodes=1)
    result = trainer.run()
    digest = hashlib.sha256(np.asarray(strategy.centre_P, np.float32).tobytes()).hexdigest()
    return before, result.eval_mean, digest
