"""How loops are compiled by Numba, and operations for them that round as torch's kernels on a CPU do."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import intrinsic


def _fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """Returns a * b + c, rounded once, as torch's add with `alpha`, sub with `alpha` and addcmul do."""
    return a(a, a, a), lambda target, builder, signature, values: builder.fma(*values)


def _rint(context: Any, a: Any) -> Any:
    """Returns the nearest integer as a float; of two equally near ones, the even one."""

    def code(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [values[0].type]), values)

    return a(a), code


fma: Any = intrinsic(_fma)
rint: Any = intrinsic(_rint)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a loop at its first call; kept in Numba's cache, or for this process where no cache can be written."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:  # "cannot cache function": no cache folder can be written
        return njit(nogil=True, error_model="numpy")(function)
