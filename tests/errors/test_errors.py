"""What a sentence says about an exception of a user's code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distes.api.configuration.signature import typed
from distes.errors import PACKAGE, STANDARD_LIBRARY, blame, raised
from distes.policies.layout import Layout


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def caught(run: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as found:  # noqa: PT011, any exception is meant
        run()
    error = found.value
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # the frame above is this test's, which stands for distes
    return error


def here(error: BaseException) -> str:
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"(tests/errors/test_errors.py:{traceback.tb_lineno})"


def fails(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])


def test_the_type_the_message_and_the_line_are_told() -> None:
    error = caught(fails(TypeError("first\n   second")))
    assert raised(error) == f"raised TypeError: first second {here(error)}"
    assert blame(error) == f"tests.errors.test_errors.fails.<locals>.run, which is not part of distes, {raised(error)}."


def test_without_a_message_the_source_line_is_told() -> None:
    def run() -> None:
        assert PACKED is None

    error = caught(run)
    error.args = ()  # pytest gives asserts in test files a message
    assert raised(error) == f"raised AssertionError in 'assert PACKED is None' {here(error)}"


PACKED = "something"


def test_a_message_that_raises_is_said_to() -> None:
    error = caught(fails(Odd()))
    sentence = f"raised Odd: a message that cannot be read, since its __str__ raises RuntimeError {here(error)}"
    assert raised(error) == sentence


def test_a_long_message_is_cut() -> None:
    assert len(raised(caught(fails(ValueError("x" * 10_000_000))))) < 1200


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    assert raised(ValueError("x")) == "raised ValueError: x"
    assert blame(ValueError("x")) is None


def test_the_innermost_line_of_a_users_file_counts() -> None:
    def run() -> None:
        Layout(7)  # type: ignore[arg-type]  # a user's mistake that shows in distes

    error = caught(run)
    assert blame(error) is not None
    assert "tests/errors/test_errors.py:" in raised(error)


def test_an_exception_of_distes_alone_is_no_users() -> None:
    error = caught(lambda: typed(7))  # type: ignore[arg-type]
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without the lambda
    assert blame(error) is None


SITE, HOME, OURS = "/venv/lib/python3/site-packages", "/home/her", str(PACKAGE)


@pytest.mark.parametrize(
    ("files", "blamed"),
    [
        ([f"{OURS}/worker.py"], None),
        ([f"{OURS}/worker.py", f"{SITE}/numpy/core.py"], None),
        ([f"{OURS}/worker.py", f"{STANDARD_LIBRARY}/functools.py"], None),
        ([f"{OURS}/pool.py", f"{SITE}/ray/worker.py", f"{SITE}/grpc/channel.py"], None),
        ([f"{OURS}/worker.py", f"{SITE}/lab/tasks.py"], f"{SITE}/lab/tasks.py"),
        ([f"{OURS}/worker.py", f"{SITE}/lab.py", f"{SITE}/numpy/core.py"], f"{SITE}/lab.py"),
        (
            [f"{OURS}/a.py", f"{SITE}/torch/m.py", f"{SITE}/lab/nets.py", f"{SITE}/torch/x.py"],
            f"{SITE}/lab/nets.py",
        ),
        ([f"{OURS}/a.py", f"{SITE}/lab/tasks.py", f"{OURS}/b.py", f"{SITE}/numpy/x.py"], f"{SITE}/lab/tasks.py"),
        ([f"{OURS}/worker.py", f"{HOME}/nets.py", f"{SITE}/sympy/core.py"], f"{HOME}/nets.py"),
    ],
)
def test_who_is_to_blame(files: list[str], blamed: str | None) -> None:
    """Functions of these files call each other, and the last one raises."""
    call = "raise KeyError('x')"
    scope: dict[str, Any] = {}
    for file in reversed(files):
        scope = {"inner": scope.get("run"), "__name__": "some"}
        exec(compile(f"def run():\n    {call}", file, "exec"), scope)
        call = "inner()"
    sentence = blame(caught(scope["run"]))
    if blamed is None:
        assert sentence is None
    else:
        assert sentence == f"some.run, which is not part of distes, raised KeyError: 'x' ({blamed}:2)."
