#!/usr/bin/env python3
"""Makes what a GPU machine without a network lacks for `check.py`, in parts that can be carried one by one.

    python scripts/gpu/pack.py OUT [REQUIREMENT ...] [--warp] [--llm] [--kernels DIR ...] [--wheels DIR] [--part 40]

Downloads the wheels of the requirements (`WANTED` where none is given) without their dependencies, unpacks them into
one folder, packs that as a .tar.xz, and splits it. It prints what the wheels require beyond themselves and `--have`.
With `--warp` MuJoCo Warp goes along, slimmed: warp-lang's wheel is 150 MB, most of it GPU code for other architectures
and a compiler for processors, without which 66 MB are left: two parts, with all else. It takes ten minutes. `--kernels`
takes along kernels that `kernels.py` (the physics alone) and `precompile.py` (whole tasks) have compiled, which would
else take minutes there. At the end it prints the commands to run there; they need a shell and Python alone.
"""

import argparse
import hashlib
import io
import lzma
import re
import shlex
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

# What machines for machine learning lack as a rule; torch, NumPy, Numba, pytest, rich and safetensors they have.
WANTED = (
    *("gymnasium", "farama-notifications", "mujoco-core", "mujoco"),
    *("jsonargparse", "docstring-parser", "typeshed-client"),
)
WARP = ("warp-lang", "mujoco-warp", "etils", "absl-py", "importlib-resources", "zipp")
LLM = (
    *("transformers", "tokenizers", "safetensors", "regex", "tqdm", "packaging", "filelock"),
    *("huggingface-hub", "hf-xet", "httpx2", "httpcore2", "h11", "anyio", "certifi", "idna", "truststore"),
    *("typer", "click", "shellingham", "annotated-doc", "rich", "pygments", "markdown-it-py", "mdurl"),
)
# There, or needed to show pictures alone.
HAVE = "numpy,torch,typing-extensions,cloudpickle,pyyaml,fsspec,glfw,pyopengl,mujoco-studio"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17)] + ["manylinux2014_x86_64"]
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
NAME, KERNELS, MB = "distes-carry.tar.xz", "warp_kernels", 10**6
FATBIN = struct.pack("<I", 0xBA55ED50)  # begins a block of GPU code in a library
LEFT_OUT = re.compile(r"warp/(tests|examples)/|warp/bin/warp-clang\.so|/test_data/|\.(lib|dll)$")
FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 64 << 20}]


def download(requirements: Iterable[str], out: Path, python: str) -> None:
    """Fetches wheels for Linux on x86-64, in the versions of constraints.txt."""
    platforms = [flag for platform in PLATFORMS for flag in ("--platform", platform)]
    given = [
        "-c",
        str(CONSTRAINTS),
        "--no-deps",
        "--only-binary=:all:",
        "--python-version",
        python,
        "--implementation",
        "cp",
        *platforms,
    ]
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(out), *given, *requirements]
    subprocess.run(command, check=True)


def still_required(wheels: Iterable[Path], have: Iterable[str]) -> list[str]:
    """What these wheels require on Linux beyond themselves and what is there."""

    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    here, wanted = {canonical(wheel.name.split("-")[0]) for wheel in wheels}, set[str]()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            lines = archive.read(metadata).decode().splitlines()
        for line in lines:
            if line.startswith("Requires-Dist:") and not re.search(
                r"extra ==|win32|Windows|emscripten|python_version <", line
            ):
                wanted.add(canonical(re.split(r"[\s;<>=!~\[(]", line.partition(":")[2].strip())[0]))
    return sorted(wanted - here - {canonical(name) for name in have})


def blank(library: bytearray, architecture: int) -> int:
    """Overwrites a library's GPU code for other architectures with zeros, in its place; returns how many bytes."""
    zeroed = place = 0
    while (start := library.find(FATBIN, place)) >= 0:
        _, _, header, size = struct.unpack_from("<IHHQ", library, start)
        place = start + 4
        if header != 16 or start + header + size > len(library):
            continue  # the four bytes happened to be something else
        entry, place = start + header, start + header + size
        while entry + 64 <= place:
            fields = struct.unpack_from("<HHIQIIHHI", library, entry)
            skip, payload, kind = fields[2], fields[3], fields[8]
            if skip < 40 or payload == 0:
                break
            if kind != architecture and kind >= 50:
                library[entry + skip : entry + skip + payload] = bytes(payload)
                zeroed += payload
            entry += skip + payload
    return zeroed


def contents(wheels: Iterable[Path], kernels: Iterable[Path], architecture: int) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of all that goes along."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                if entry.is_dir() or LEFT_OUT.search(entry.filename):
                    continue
                data = archive.read(entry)
                if entry.filename == "warp/bin/warp.so":
                    library = bytearray(data)
                    print(f"warp.so: {blank(library, architecture):,} bytes for other architectures zeroed", flush=True)
                    data = bytes(library)
                yield entry.filename, data
    seen = set[str]()
    for folder in kernels:
        for path in sorted(folder.rglob("*")):
            name = f"{KERNELS}/{path.relative_to(folder)}"
            if path.is_file() and name not in seen:
                seen.add(name)
                yield name, path.read_bytes()


def pack(files: Iterable[tuple[str, bytes]], target: Path) -> None:
    """Into one .tar.xz."""
    with (
        lzma.open(target, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755 if name.endswith(".so") else 0o644
            archive.addfile(info, io.BytesIO(data))


def split(whole: Path, out: Path, most: int) -> list[Path]:
    """Cuts a file into parts of limited size, whose names sort in their order; parts of an earlier time go."""
    for old in out.glob(f"{NAME}.*"):
        old.unlink()
    parts = []
    with whole.open("rb") as file:
        while data := file.read(most):
            parts.append(out / f"{NAME}.{len(parts):03}")
            parts[-1].write_bytes(data)
    return parts


def commands(out: Path, digest: str) -> str:
    """What to run there, in the root of the repository, once all parts are there."""
    site = f"/tmp/distes-{digest[:8]}"
    unpack = f"import tarfile; tarfile.open('{site}/{NAME}').extractall('{site}', filter='data')"
    return f"""mkdir -p {site} && cat {shlex.quote(str(out))}/{NAME}.* > {site}/{NAME} || exit 1
echo "{digest}  {site}/{NAME}" | sha256sum -c || exit 1
python3 -c "{unpack}" || exit 1
export PYTHONPATH={site} WARP_CACHE_PATH={site}/{KERNELS} PYTHONUNBUFFERED=1
python3 scripts/gpu/check.py "${{OUT:-check}}"
python3 scripts/gpu/humanoid.py "${{OUT:-.}}/humanoid" --minutes 9"""


def main() -> None:
    """Packs, and prints the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a folder for the parts; name it as it will be called there")
    parser.add_argument("requirements", nargs="*", help=f"wheels (default: {', '.join(WANTED)})")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels to take instead of downloading any")
    parser.add_argument("--warp", action="store_true", help="MuJoCo Warp, too")
    parser.add_argument("--llm", action="store_true", help="transformers, too")
    parser.add_argument("--kernels", type=Path, nargs="+", default=[], help="kernel caches of Warp's")
    parser.add_argument("--arch", type=int, default=90, help="of the GPU, times ten (default: 90, Hopper)")
    parser.add_argument("--python", default="3.12", help="its version there (default: 3.12)")
    parser.add_argument("--have", default=HAVE, help=f"what is there already (default: {HAVE})")
    parser.add_argument("--part", type=float, default=40, help="megabytes of a part, at most (default: 40)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        source = options.wheels or Path(folder)
        if options.wheels is None:
            wanted = options.requirements or WANTED
            further = [*(WARP if options.warp else ()), *(LLM if options.llm else ())]
            download([*wanted, *further], source, options.python)
        wheels = sorted(source.glob("*.whl"))
        if missing := still_required(wheels, options.have.split(",")):
            print(f"the wheels require besides: {', '.join(missing)}")
        whole = Path(folder, NAME)
        pack(contents(wheels, options.kernels, options.arch), whole)
        digest = hashlib.sha256(whole.read_bytes()).hexdigest()
        parts = split(whole, options.out, int(options.part * MB))
    what = "this part" if len(parts) == 1 else f"these {len(parts)} parts, one by one or together,"
    print("\n".join(f"{part}: {part.stat().st_size / MB:.1f} MB" for part in parts))
    print(f"\nCarry the repository and {what} there; then run, in the repository:\n")
    print(commands(options.out, digest))


if __name__ == "__main__":
    main()
