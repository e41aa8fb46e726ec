"""The cause of a worker's death, from Ray's error and the worker's log.

Ray has no error codes for this, so the cause is read from the wording of ray 2.60.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ray.exceptions import ActorUnavailableError, NodeDiedError, OutOfMemoryError, RayError

from distes.pools.on_ray.ray_internals import log_folder

SILENTLY = (
    "its process ended without a word: it crashed, called os._exit, or was killed (by the system, say, for its memory)"
)
MEMORY = re.compile(r"([\d.]+GB) used / ([\d.]+GB) limit")
SELECTED = re.compile(r"Selected to kill:.*?pid=(\d+), actual memory used=([\d.]+)GB")
FRAME = re.compile(r'^  File "(.+)", line (\d+),? in (\S+)')


@dataclass(frozen=True)
class Death:
    """The death of a worker.

    Attributes:
        cause: The cause as far as it is known, as part of a sentence.
        outside: Whether the death certainly has nothing to do with what the worker was evaluating.
        held: Gigabytes by process number, if Ray ended these processes because their node ran out of memory.
    """

    cause: str
    outside: bool = False
    held: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, error: RayError) -> "Death":
        """Makes a death from the error that Ray raised for a call to a worker."""
        text = str(error)
        if isinstance(error, OutOfMemoryError):
            found = MEMORY.search(text)
            used = f" ({found[1]} of {found[2]} used)" if found else ""
            held = {int(pid): float(size) for pid, size in SELECTED.findall(text)}
            return cls(f"Ray ended its process because its node ran out of memory{used}", held=held)
        preempted = getattr(error, "preempted", False)
        if isinstance(error, NodeDiedError) or preempted or "node has died" in text or "node is dead" in text:
            return cls("its node died or was taken away", outside=True)
        if isinstance(error, ActorUnavailableError):
            return cls("the link to it broke", outside=True)
        if "ray.kill" in text:
            return cls("it was ended through Ray", outside=True)
        if "SIGTERM" in text:
            return cls("its process was told to end (SIGTERM)", outside=True)
        if (code := re.search(r"exit code (\d+)", text)) is not None:
            return cls(f"its process exited with code {code[1]}")
        if "connection error" in text:
            return cls(SILENTLY)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return cls(lines[-1] if lines else type(error).__name__)

    def of_process(self, pid: int, node: str, *, here: bool) -> "Death":
        """Returns this death with what is known of the worker's process.

        Args:
            pid: Process number.
            node: Name of the node, for the message.
            here: Whether the process's log is on this machine.
        """
        cause, outside = self.cause, self.outside
        if self.held:  # Ray ends several at once; only the largest can be to blame
            outside = pid in self.held and self.held[pid] < max(self.held.values())
            cause += f", {self.held[pid]:g} GB of it by this process" if pid in self.held else ""
        if cause == SILENTLY and here and (crash := crash_in(_log_lines(pid))) is not None:
            cause = crash
        return Death(f"{cause} (process {pid} on {node})", outside, self.held)


def crash_in(lines: Iterable[str]) -> str | None:
    """Returns the crash that Python's fault handler reported, with the innermost frame outside libraries, or None.

    Args:
        lines: Lines of the process's error log.
    """
    signal, frames, reading = "", list[tuple[str, str, str]](), False
    for line in lines:
        if line.startswith("Fatal Python error: "):
            signal, frames = line.removeprefix("Fatal Python error: ").strip(), []
        elif signal and "most recent call first" in line:
            reading = not frames and not line.startswith("Thread ")  # only the thread that crashed
        elif reading and (frame := FRAME.match(line)) is not None:
            frames.append((frame[1], frame[2], frame[3]))
    if not signal:
        return None
    own = [frame for frame in frames if "site-packages" not in frame[0] and "/lib/python" not in frame[0]]
    where = "".join(f" at {file}:{line} in {function}" for file, line, function in (own or frames)[:1])
    return f"its process crashed: {signal}{where}"


def _log_lines(pid: int) -> list[str]:
    """Lines of the error log of a worker on this process's own node; empty if the log is not found."""
    try:
        logs = [] if (folder := log_folder()) is None else folder.glob(f"worker-*-{pid}.err")
        return [line for log in logs for line in log.read_text("utf-8", "replace").split("\n")]
    except OSError:  # another user's log: the cause stays as it is
        return []
