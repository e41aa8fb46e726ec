"""Weighted sums of slices of the table: the bits of a plain loop, however and wherever they are formed.

Axes: N slices, L numbers of a slice.
"""

import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distes.errors import DistesWarning
from distes.noise import sum_cpu, sum_gpu
from distes.noise.sum_cpu import LONGEST, OVERHEAD, SHORTEST, WORTH_COMPILING
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_bits, weighted_sum
from tests.support.small import ROOT

SIZE = 10**6


@pytest.fixture(scope="module", params=["float32", "float16"])
def noise(request: pytest.FixtureRequest) -> Iterator[NoiseTable]:
    table = NoiseTable(size=SIZE, dtype=request.param, seed=8)
    yield table
    table.close()


def slices(length: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Starts, the first and the last possible one among them, and weights."""
    numbers = np.random.default_rng(length + count)
    starts_N = numbers.integers(SIZE - length + 1, size=count)
    if count > 1:
        starts_N[[0, -1]] = [SIZE - length, 0]
    return starts_N, numbers.standard_normal(count, dtype=np.float32)


def plain_loop(
    table: NDArray[Any], starts_N: Any, weights_N: Any, length: int, squared: bool = False
) -> NDArray[np.float32]:
    out = np.zeros(length, np.float32)
    for start, weight in zip(starts_N, weights_N, strict=True):
        numbers = table[start : start + length].astype(np.float32)
        if squared:
            numbers = numbers * numbers
        product = np.float32(weight) * numbers
        out = out + product
    return out


@pytest.mark.parametrize("length", [1, 3, 1000, SHORTEST, SHORTEST + 1, 3 * SHORTEST + 17])
@pytest.mark.parametrize("count", [1, 7, 8, 20])
@pytest.mark.parametrize("add", [sum_cpu.add_in_numpy, sum_cpu.add_compiled])
@pytest.mark.parametrize("squared", [False, True])
def test_a_sum_is_one_product_and_one_addition_after_the_other(
    noise: NoiseTable, add: Any, length: int, count: int, squared: bool
) -> None:
    starts_N, weights_N = slices(length, count)
    out = np.zeros(length, np.float32)
    add(noise.numbers, starts_N, weights_N, out, squared)
    np.testing.assert_array_equal(out, plain_loop(noise.numbers, starts_N, weights_N, length, squared))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("longest", [1000, LONGEST])
@pytest.mark.parametrize("squared", [False, True])
def test_the_bits_depend_on_neither_threads_nor_tiles(
    noise: NoiseTable, monkeypatch: pytest.MonkeyPatch, threads: int, longest: int, squared: bool
) -> None:
    starts_N, weights_N = slices(4 * LONGEST + 5, 20)
    monkeypatch.setattr(sum_cpu, "cores", lambda: threads)
    monkeypatch.setattr(sum_cpu, "LONGEST", longest)
    out = np.zeros(4 * LONGEST + 5, np.float32)
    sum_cpu.add_compiled(noise.numbers, starts_N, weights_N, out, squared)
    np.testing.assert_array_equal(out, plain_loop(noise.numbers, starts_N, weights_N, len(out), squared))


@pytest.mark.parametrize("weight", [1.0, -0.75, 2.0**14, 1e-30, 1e-42])
def test_every_finite_float16_is_converted_exactly(weight: float) -> None:
    """All 63,488 of them, the subnormal ones and both zeros included."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.ascontiguousarray(every[np.isfinite(every)])
    assert len(finite) == 63_488
    out = np.zeros(len(finite), np.float32)
    sum_cpu.add_compiled(finite, np.zeros(1, np.int64), np.array([weight], np.float32), out, squared=False)
    np.testing.assert_array_equal(out, np.float32(weight) * finite.astype(np.float32))


@pytest.mark.parametrize("weight", [1.0, -0.75, 1e-30, 1e25])
def test_every_finite_float16_is_squared_exactly(weight: float) -> None:
    """From the square of the smallest, 2**-48, to that of the largest, 2**32; none is lost, and none overflows."""
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = np.ascontiguousarray(every[np.isfinite(every)])
    out = np.zeros(len(finite), np.float32)
    sum_cpu.add_compiled(finite, np.zeros(1, np.int64), np.array([weight], np.float32), out, squared=True)
    squares = (finite.astype(np.float64) ** 2).astype(np.float32)
    assert squares[finite != 0].min() == 2.0**-48 and np.isfinite(out).all()
    np.testing.assert_array_equal(out, np.float32(weight) * squares)


@pytest.mark.parametrize(
    ("dtype", "length", "count", "weight", "compiled"),
    [
        ("float32", 1000, (WORTH_COMPILING - 1) // (OVERHEAD + 1000), 1.0, False),
        ("float32", 1000, (WORTH_COMPILING - 1) // (OVERHEAD + 1000) + 1, 1.0, True),
        ("float16", 1000, (WORTH_COMPILING - 1) // (OVERHEAD + 1000) + 1, 1.0, True),
        ("float32", WORTH_COMPILING, 1, 1.0, True),
        ("float16", 1000, 1000, 2.0**15, False),
        ("float32", 1000, 1000, 2.0**15, True),
        ("float16", 1000, 1000, np.nan, False),
    ],
)
def test_large_sums_are_compiled_where_they_can_be(
    monkeypatch: pytest.MonkeyPatch, dtype: str, length: int, count: int, weight: float, compiled: bool
) -> None:
    called = []
    monkeypatch.setattr(sum_cpu, "add_in_numpy", lambda *_: called.append(False))
    monkeypatch.setattr(sum_cpu, "add_compiled", lambda *_: called.append(True))
    weights_N = np.zeros(count, np.float32)
    weights_N[-1] = weight
    arguments = (np.zeros(8, dtype), np.zeros(count, np.int64), weights_N, np.zeros(length, np.float32))
    sum_cpu.add_slices(*arguments, squared=False)
    sum_cpu.add_slices(*arguments, squared=True)
    large = count * (length + OVERHEAD) >= WORTH_COMPILING
    assert called == [compiled, large]  # squares need no scaled weights


@pytest.mark.parametrize("scale", [2.0**15, 1e30])
@pytest.mark.parametrize("squared", [False, True])
def test_large_weights_are_no_less_exact(noise: NoiseTable, scale: float, squared: bool) -> None:
    starts_N, weights_N = slices(1000, 1000)
    out = torch.empty(1000)
    weights_N *= np.float32(scale)
    weighted_sum(noise, starts_N, weights_N, out, squared=squared)
    np.testing.assert_array_equal(out, plain_loop(noise.numbers, starts_N, weights_N, 1000, squared))


@pytest.mark.parametrize(("length", "count"), [(10, 5), (SIZE, 4), (SIZE // 3, 40), (5, 2000)])
def test_the_sum_replaces_what_was_there(noise: NoiseTable, length: int, count: int) -> None:
    starts_N, weights_N = slices(length, count)
    out = torch.full((length,), torch.nan)
    weighted_sum(noise, starts_N, weights_N, out)
    np.testing.assert_array_equal(out, plain_loop(noise.numbers, starts_N, weights_N, length))


def test_weights_in_float64_are_rounded_first(noise: NoiseTable) -> None:
    starts_N, weights_N = slices(10, 5)
    out = torch.empty(10)
    weighted_sum(noise, starts_N, weights_N + np.float64(1e-12), out)
    np.testing.assert_array_equal(out, plain_loop(noise.numbers, starts_N, weights_N, 10))


def test_a_sum_of_nothing_is_zero(noise: NoiseTable) -> None:
    out = torch.full((4,), 7.0)
    weighted_sum(noise, np.empty(0, np.int64), np.empty(0, np.float32), out)
    assert out.tolist() == [0, 0, 0, 0]
    weighted_sum(noise, np.array([3]), np.array([1.0]), torch.empty(0))


@pytest.mark.parametrize(
    ("starts", "weights", "out", "message"),
    [
        ([1, 2], [0.5], torch.empty(10), "2 slices and 1 weights: one is shorter"),
        ([-1], [0.5], torch.empty(10), "slices of 10 numbers begin at 0 to 999990; got -1 to -1"),
        ([5, SIZE - 9], [1, 1], torch.empty(10), "begin at 0 to 999990; got 5 to 999991"),
        ([0], [1], torch.empty(SIZE + 1), "begin at 0 to -1"),
        ([0], [1], torch.empty(10, dtype=torch.float64), "one contiguous row of float32; got torch.float64"),
        ([0], [1], torch.empty(2, 5), r"one contiguous row of float32; got torch.float32, \(2, 5\)"),
        ([0], [1], torch.empty(20)[::2], "one contiguous row"),
    ],
)
def test_what_cannot_be_summed_is_refused(
    noise: NoiseTable, starts: list[int], weights: list[float], out: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_sum(noise, np.array(starts), np.array(weights), out)


@pytest.mark.parametrize("squared", [False, True])
def test_torch_s_form_agrees(noise: NoiseTable, squared: bool) -> None:
    """What a device without Triton does; it may fuse a product with its sum."""
    starts_N, weights_N = slices(1000, 30)
    out = torch.zeros(1000)
    table = noise.tensor(torch.device("cpu"))
    sum_gpu.add_in_torch(table, torch.from_numpy(starts_N), torch.from_numpy(weights_N), out, squared)
    np.testing.assert_allclose(out, plain_loop(noise.numbers, starts_N, weights_N, 1000, squared), atol=2e-5)


class TestTritonThatDoesNotWork:
    @pytest.fixture(autouse=True)
    def _first_use(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.delitem(sys.modules, "distes.noise.triton_kernel", raising=False)
        sum_gpu._triton_kernel.cache_clear()
        yield
        sum_gpu._triton_kernel.cache_clear()

    def said(self, reason: str) -> None:
        cpu = torch.device("cpu")
        with pytest.warns(DistesWarning, match=rf"Triton does not work here \({reason}.*several times slower") as said:
            assert sum_gpu._triton_kernel(cpu) is None and sum_gpu._triton_kernel(cpu) is None
        assert len(said) == 1

    def test_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "triton", None)
        self.said("ModuleNotFoundError: .*triton")

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
            OSError(30, "Read-only file system"),
            subprocess.CalledProcessError(1, "ptxas"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_it_cannot_compile(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        """Which shows at the first launch."""

        def refuse(*_: object) -> None:
            raise error

        kernel = types.SimpleNamespace(add_slices=refuse)
        monkeypatch.setitem(sys.modules, "distes.noise.triton_kernel", kernel)
        self.said(type(error).__name__)

    def test_it_computes_something_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kernel = types.SimpleNamespace(add_slices=lambda *_: None)
        monkeypatch.setitem(sys.modules, "distes.noise.triton_kernel", kernel)
        self.said(r"RuntimeError: 1 \* 1 is 0\.0")

    def test_a_gpu_that_failed_before_is_not_blamed_on_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        kernel = types.SimpleNamespace(add_slices=refuse)
        monkeypatch.setitem(sys.modules, "distes.noise.triton_kernel", kernel)
        with pytest.raises(RuntimeError, match="illegal memory access"):
            sum_gpu._triton_kernel(torch.device("cpu"))


def run(code: str, home: Path, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.slow
def test_a_small_sum_does_not_import_numba(tmp_path: Path) -> None:
    code = """
import sys, numpy as np, torch
from distes.noise.table import NoiseTable
from distes.noise.weighted_sum import weighted_sum
weighted_sum(NoiseTable(size=50_000), np.arange(100), np.ones(100), torch.empty(5_000))
print([name for name in ("numba", "triton") if name in sys.modules])
"""
    assert run(code, tmp_path) == "[]"


@pytest.mark.slow
def test_compiled_code_needs_no_cache(tmp_path: Path) -> None:
    """As on a machine where neither the package nor a home can be written to: compiled for this process alone."""
    code = """
import numpy as np, torch
from numba.core import caching
caching.CacheImpl._locator_classes = []
from distes.noise.table import NoiseTable
from distes.noise import numba_kernel
from distes.noise.weighted_sum import weighted_sum
out = torch.empty(5_000)
weighted_sum(NoiseTable(size=50_000), np.arange(1000), np.ones(1000), out)
print(type(numba_kernel.add_slices._cache).__name__, bool(out.all()))
"""
    assert run(code, tmp_path) == "NullCache True"


def plain_bits(table: NDArray[Any], starts_N: Any, weights_N: Any, thresholds: Any) -> NDArray[np.float32]:
    out = np.zeros(len(thresholds), np.float32)
    for start, weight in zip(starts_N, weights_N, strict=True):
        kept = table[start : start + len(out)].astype(np.float32) > thresholds
        out[kept] = out[kept] + np.float32(weight)
    return out


@pytest.mark.parametrize("length", [1, 3, 1000, SHORTEST + 1, 3 * SHORTEST + 17])
@pytest.mark.parametrize("count", [1, 7, 20])
@pytest.mark.parametrize("add", [sum_cpu.add_bits_in_numpy, sum_cpu.add_bits_compiled])
def test_bits_are_added_one_after_the_other(noise: NoiseTable, add: Any, length: int, count: int) -> None:
    """Some thresholds are numbers of the table, which do not exceed themselves, and their neighbours."""
    starts_N, weights_N = slices(length, count)
    thresholds = np.random.default_rng(2).standard_normal(length, dtype=np.float32)
    own = noise.numbers[starts_N[0] : starts_N[0] + length].astype(np.float32)
    thresholds[::3], thresholds[1::3] = own[::3], np.nextafter(own[1::3], np.float32(-np.inf))
    out = np.zeros(length, np.float32)
    add(noise.numbers, starts_N, weights_N, thresholds, out)
    np.testing.assert_array_equal(out, plain_bits(noise.numbers, starts_N, weights_N, thresholds))


@pytest.mark.parametrize("threads", [1, 7])
def test_sums_of_bits_depend_on_neither_threads_nor_tiles(
    noise: NoiseTable, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    starts_N, weights_N = slices(4 * LONGEST + 5, 20)
    thresholds = np.random.default_rng(2).standard_normal(4 * LONGEST + 5, dtype=np.float32)
    monkeypatch.setattr(sum_cpu, "cores", lambda: threads)
    out = torch.full((len(thresholds),), torch.nan)
    weighted_bits(noise, starts_N, weights_N, thresholds, out)
    np.testing.assert_array_equal(out, plain_bits(noise.numbers, starts_N, weights_N, thresholds))


def test_torch_s_form_of_bits_agrees(noise: NoiseTable) -> None:
    starts_N, weights_N = slices(1000, 20)
    thresholds, out = np.zeros(1000, np.float32), torch.zeros(1000)
    tensors = (torch.from_numpy(one) for one in (starts_N, weights_N, thresholds))
    sum_gpu.add_bits_in_torch(noise.tensor(torch.device("cpu")), *tensors, out)
    np.testing.assert_allclose(out, plain_bits(noise.numbers, starts_N, weights_N, thresholds), atol=2e-5)


def test_thresholds_must_fit(noise: NoiseTable) -> None:
    with pytest.raises(ValueError, match=r"thresholds must be float32, \(9,\); got float64, \(9,\)"):
        weighted_bits(noise, np.zeros(1, np.int64), np.ones(1), np.zeros(9), torch.zeros(9))  # type: ignore[arg-type]


@pytest.mark.slow
def test_in_triton_s_interpreter_the_bits_are_those_of_numpy(tmp_path: Path) -> None:
    """The kernel, run by Triton on the CPU, number by number."""
    pytest.importorskip("triton")
    code = """
import numpy as np, torch
from distes.noise.table import NoiseTable
from distes.noise import sum_cpu, triton_kernel
numbers = np.random.default_rng(0)
for dtype in ("float32", "float16"):
    noise = NoiseTable(size=10_000, dtype=dtype)
    table = noise.tensor(torch.device("cpu"))
    for length in (1, 127, 128, 300):
        for count, squared in ((1, False), (16, False), (35, False), (1, True), (35, True)):
            starts_N = numbers.integers(noise.size - length + 1, size=count)
            starts_N[[0, -1]] = [noise.size - length, 0]
            weights_N = numbers.standard_normal(count, dtype=np.float32)
            expected, out = np.zeros(length, np.float32), torch.zeros(length + 1)
            sum_cpu.add_in_numpy(noise.numbers, starts_N, weights_N, expected, squared)
            on_device = torch.from_numpy(starts_N), torch.from_numpy(weights_N)
            triton_kernel.add_slices(table, *on_device, out[:length], squared)
            assert np.array_equal(out[:length], expected) and out[length] == 0, (dtype, length, count, squared)
            thresholds = noise.numbers[5 : 5 + length].astype(np.float32)
            expected, out = np.zeros(length, np.float32), torch.zeros(length + 1)
            sum_cpu.add_bits_in_numpy(noise.numbers, starts_N, weights_N, thresholds, expected)
            triton_kernel.add_bits(table, *on_device, torch.from_numpy(thresholds), out[:length])
            assert np.array_equal(out[:length], expected) and out[length] == 0, (dtype, length, count)
    noise.close()
print("equal")
"""
    assert run(code, tmp_path, TRITON_INTERPRET="1") == "equal"


@pytest.mark.slow
def test_compiled_for_a_gpu_products_are_rounded_before_they_are_added(tmp_path: Path) -> None:
    """Triton compiles for a GPU that is not there. The assembly has products and sums, and nothing fused."""
    pytest.importorskip("triton")
    code = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from distes.noise import triton_kernel as kernel
for number, squared in (("fp32", False), ("fp16", False), ("fp32", True), ("fp16", True)):
    types = {"table": "*" + number, "starts_N": "*i64", "weights_N": "*fp32", "out": "*fp32"}
    signature = {**types, "n": "i32", "length": "i32"}
    signature |= {"SQUARED": "constexpr", "BLOCK": "constexpr", "UNROLL": "constexpr"}
    constants = {"SQUARED": squared, "BLOCK": kernel.BLOCK, "UNROLL": kernel.UNROLL}
    source = ASTSource(fn=kernel._compiled, signature=signature, constexprs=constants)
    options = {"num_warps": kernel.WARPS, "maxnreg": kernel.REGISTERS, "enable_fp_fusion": False}
    made = compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert made.asm["cubin"].startswith(b"\x7fELF")  # assembled, too
    print(made.asm["ptx"])
"""
    assembly = run(code, tmp_path)
    found = re.findall(r"\b(fma|mul|add)\.\w*\.?f32", assembly)
    # A product and a sum each, and in the latter two a square before them.
    assert 2 * found.count("mul") == 3 * found.count("add") >= 3 * 4 * 16 and "fma" not in found


@pytest.mark.gpu
@pytest.mark.parametrize(("length", "count"), [(1, 1), (1000, 500), (SIZE // 2, 33)])
def test_on_a_gpu_sums_of_bits_are_those_of_the_cpu(noise: NoiseTable, length: int, count: int) -> None:
    starts_N, weights_N = slices(length, count)
    thresholds, out = noise.numbers[:length].astype(np.float32), torch.full((length,), torch.nan, device="cuda")
    weighted_bits(noise, starts_N, weights_N, thresholds, out)
    np.testing.assert_array_equal(out.cpu(), plain_bits(noise.numbers, starts_N, weights_N, thresholds))


@pytest.mark.gpu
@pytest.mark.parametrize(("length", "count"), [(1, 1), (1000, 500), (SIZE, 3), (SIZE // 2, 33)])
@pytest.mark.parametrize("squared", [False, True])
def test_on_a_gpu_the_bits_are_those_of_the_cpu(noise: NoiseTable, length: int, count: int, squared: bool) -> None:
    starts_N, weights_N = slices(length, count)
    out = torch.full((length,), torch.nan, device="cuda")
    weighted_sum(noise, starts_N, weights_N, out, squared=squared)
    np.testing.assert_array_equal(out.cpu(), plain_loop(noise.numbers, starts_N, weights_N, length, squared))


@pytest.mark.gpu
def test_on_a_gpu_nothing_of_the_size_of_all_slices_is_formed(noise: NoiseTable) -> None:
    starts_N, weights_N = slices(SIZE // 2, 500)
    out = torch.empty(SIZE // 2, device="cuda")
    weighted_sum(noise, starts_N, weights_N, out)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    weighted_sum(noise, starts_N, weights_N, out)
    assert torch.cuda.max_memory_allocated() - before < 2**20
