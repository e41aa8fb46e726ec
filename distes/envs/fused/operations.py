"""What the generated loops are made of: compilation by Numba, and operations that round as torch's kernels do."""

from collections.abc import Callable
from typing import Any

from numba import njit
from numba.extending import intrinsic


@intrinsic
def fma(context: Any, a: Any, b: Any, c: Any) -> Any:
    """A * b + c, rounded once: what torch's add with `alpha`, sub with `alpha` and addcmul compute on a CPU."""
    return a(a, a, a), lambda target, builder, signature, values: builder.fma(*values)


@intrinsic
def rint(context: Any, a: Any) -> Any:
    """The nearest integer, the even one of two, as a float."""

    def code(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.rint", [values[0].type]), values)

    return a(a), code


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a loop at its first call; kept in Numba's cache, or for this process where no cache can be written."""
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(function)  # type: ignore[no-any-return]
    except RuntimeError:  # "cannot cache function": no cache folder can be written
        return njit(nogil=True, error_model="numpy")(function)  # type: ignore[no-any-return]
