"""A user's reward: what it may return, and that nothing that it does ends or stops the worker."""

import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.errors.trust import only_own
from distes.tasks.base import Stopped
from distes.tasks.language.rewards.board import ROWS
from distes.tasks.language.rewards.rewards import Rewards
from tests.support import rewards
from tests.support.prompts import sums
from tests.support.small import ROOT

HERE = "tests.support.rewards"
PROMPTS = sums(8)
MODES = pytest.mark.parametrize("seconds", [30.0, None], ids=["process", "inside"])


@pytest.fixture
def made() -> Iterator[Any]:
    """Makes rewards, and ends their processes."""
    all_made: list[Rewards] = []

    def make(reward: Any, **arguments: Any) -> Rewards:
        all_made.append(
            Rewards(f"{HERE}.{reward}" if type(reward) is str and "." not in reward else reward, **arguments)
        )
        return all_made[-1]

    yield make
    for one in all_made:
        one.close()


def rated(reward: Rewards, *answers: str) -> Any:
    return reward([PROMPTS[0]] * len(answers), answers)


def alive(process: int) -> bool:
    """Whether a process runs; nobody may have asked for the exit code of one that has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends(*processes: int) -> bool:
    deadline = time.monotonic() + 10
    while any(alive(one) for one in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(alive(one) for one in processes)


@MODES
class TestWhatItReturns:
    def test_a_number(self, made: Any, seconds: float | None) -> None:
        scored = rated(made("length", seconds=seconds), "", "abc", "é\ud800")
        assert scored.reward_n.tolist() == [0, 3, 2] and scored.reward_n.dtype == np.float64
        assert scored.scores_nV.shape == (3, 0) and scored.failed == 0 and scored.first_failure == ""

    def test_scores_in_the_order_of_their_names(self, made: Any, seconds: float | None) -> None:
        reward = made(
            "exact", reward_args={"partial": 0.25}, scores=["exact", "well_formed"], seconds=seconds, worst=-1.0
        )
        reward.check(PROMPTS)
        scored = reward(PROMPTS[:4], ["1", "1", "x", "4"])
        assert scored.reward_n.tolist() == [1, 0.25, 0.25, 1]
        assert scored.scores_nV.tolist() == [[1, 1], [0, 1], [0, 0], [1, 1]] and scored.failed == 0

    def test_numbers_of_all_kinds(self, made: Any, seconds: float | None) -> None:
        texts = ["1", "True", "1.5", "np.float32(1.5)", "np.array(2)", "np.bool_(True)", "{'reward': 1}", "10**18"]
        scored = rated(made("returns", seconds=seconds), *texts)
        assert scored.failed == 0 and scored.reward_n.tolist() == [1, 1, 1.5, 1.5, 2, 1, 1, 10**18]

    def test_one_that_raises(self, made: Any, seconds: float | None) -> None:
        scored = rated(made("number_of", seconds=seconds, worst=-1.0), "1", "two", "3", "four" * 100)
        assert scored.reward_n.tolist() == [1, -1, 3, -1] and scored.failed == 2
        assert scored.first_failure.startswith(
            f"The reward {HERE}.number_of raised ValueError: could not convert string to float: 'two' "
            "(tests/support/rewards.py:"
        )
        assert scored.first_failure.endswith("), for the answer 'two' to the prompt '0 + 1 ='.")
        long = rated(made("number_of", seconds=seconds), "x" * 10**6)
        assert len(long.first_failure) < 2000 and "..." in long.first_failure

    def test_each_answer_gets_a_prompt_of_its_own(self, made: Any, seconds: float | None) -> None:
        scored = rated(made("greedy_changer", seconds=seconds), *"abcd")
        assert scored.reward_n.tolist() == [1] * 4 and PROMPTS[0]["numbers"] == [0, 1] and PROMPTS[0]["target"] == 1

    def test_no_answers(self, made: Any, seconds: float | None) -> None:
        scored = rated(made("exact", scores=["exact", "well_formed"], seconds=seconds))
        assert scored.reward_n.shape == (0,) and scored.scores_nV.shape == (0, 2) and scored.failed == 0

    def test_more_answers_than_a_batch(self, made: Any, seconds: float | None) -> None:
        reward = made("exact", scores=["exact", "well_formed"], seconds=seconds)
        places = np.random.default_rng(0).integers(8, size=2 * ROWS + 5)
        answers = [str(place + place % 2) for place in places.tolist()]
        scored = reward([PROMPTS[place] for place in places], answers)
        assert scored.reward_n.tolist() == (places % 2).tolist() and scored.scores_nV[:, 1].all()

    def test_stops_when_it_is_told_to(self, made: Any, seconds: float | None) -> None:
        reward = made("dies", seconds=seconds)
        with pytest.raises(Stopped):
            reward([PROMPTS[0]] * 2, ["a", "sleep"] if seconds else ["a", "b"], lambda: True)
        assert rated(reward, "abc").reward_n.tolist() == [3]

    def test_objects_of_python(self, made: Any, seconds: float | None) -> None:
        factor = 3

        def closure(prompt: Any, answer: str) -> float:
            return factor * len(answer)

        for one in (closure, lambda prompt, answer: 3 * len(answer), rewards.Scaled(3.0), rewards.length):
            reward = made(one, seconds=seconds)
            reward.check(PROMPTS)
            assert rated(reward, "ab").reward_n.tolist() == [2.0 if one is rewards.length else 6.0]
            if seconds:
                assert rated(pickle.loads(pickle.dumps(reward)), "ab").reward_n.tolist() == rated(reward, "ab").reward_n

    def test_pickles(self, made: Any, seconds: float | None) -> None:
        reward = made("exact", scores=["exact", "well_formed"], seconds=seconds, worst=-3.0)
        reward.check(PROMPTS)
        there = pickle.loads(pickle.dumps(reward))
        scored = rated(there, "1", "2")
        assert scored.reward_n.tolist() == [1, 0] and there.scores == ("exact", "well_formed")
        there.close()


@pytest.mark.parametrize(
    ("text", "scores", "message"),
    [
        ("None", [], "returned None, of type NoneType: it must be a finite number"),
        ("'1.0'", [], "returned '1.0', of type str: it must be a finite number"),
        ("[1.0]", [], "returned [1.0], of type list: it must be a finite number"),
        ("np.ones(1)", [], "returned array([1.]), of type ndarray: it must be a finite number"),
        ("1j", [], "returned 1j, of type complex: it must be a finite number"),
        ("float('nan')", [], "returned nan: it must be a finite number"),
        ("-np.inf", [], "returned -inf: it must be a finite number"),
        ("10**400", [], "returned inf: it must be a finite number"),
        ("{'score': 1.0}", [], "returned a mapping without the key 'reward'; it has 'score'"),
        ("{}", [], "returned a mapping without the key 'reward'; it has none"),
        ("{'reward': None}", [], "returned None as its reward, of type NoneType: it must be a finite number"),
        ("{'reward': 1, 'a': 2, 'b': 3}", ["c"], "returned no 'c', which task.scores declares; it returned 'reward'"),
        ("{'reward': 1, 'a': 2, 'c': 3}", ["a"], "returned 'c' beside the reward, which task.scores does not"),
        ("{'reward': 1, 'a': 2}", ["a", "b"], "returned no 'b', which task.scores declares; it returned 'reward'"),
        ("{'reward': 1, 'a': np.nan}", ["a"], "returned nan as 'a': it must be a finite number"),
        ("{'reward': 1, 'a': 'x'}", ["a"], "returned 'x' as 'a', of type str: it must be a finite number"),
        (
            "0.5",
            ["a", "b"],
            "returned the number 0.5 alone, and task.scores declares a, b: return a mapping",
        ),
    ],
)
def test_anything_else_is_the_worst_and_counted(text: str, scores: list[str], message: str, made: Any) -> None:
    good = repr({"reward": 7, **dict.fromkeys(scores, 1)})
    scored = rated(made("returns", scores=scores, seconds=None, worst=-2.5), good, text, good, text)
    assert scored.reward_n.tolist() == [7, -2.5, 7, -2.5] and scored.failed == 2
    assert scored.scores_nV.tolist() == [[1] * len(scores), [0] * len(scores)] * 2
    assert scored.first_failure.startswith(f"The reward {HERE}.returns {message}")
    assert scored.first_failure.endswith(f", for the answer {text!r} to the prompt '0 + 1 ='.")


def test_a_task_that_declares_no_scores_takes_the_reward_alone(made: Any) -> None:
    scored = rated(made("returns", seconds=None), "{'reward': 1, 'a': 2, 'b': 'x'}")
    assert scored.reward_n.tolist() == [1] and scored.scores_nV.shape == (1, 0) and scored.failed == 0


def test_a_process_says_the_same(made: Any) -> None:
    arguments = {"scores": ["a"], "worst": -2.5}
    answers = ["{'reward': 7, 'a': 1}", "{'reward': 1}", "None"]
    one, other = (rated(made("returns", seconds=seconds, **arguments), *answers) for seconds in (30.0, None))
    assert one.first_failure == other.first_failure and one.failed == other.failed == 2
    assert (one.reward_n == other.reward_n).all() and (one.scores_nV == other.scores_nV).all()


@MODES
class TestCheck:
    @pytest.mark.parametrize(
        ("name", "arguments", "message"),
        [
            ("no_module.reward", {}, "reward 'no_module.reward' cannot be imported: there is no module 'no_module'."),
            (f"{HERE}.lenght", {}, "has no 'lenght'. Did you mean 'length'?"),
            (f"{HERE}.NOT_CALLED", {}, f"reward '{HERE}.NOT_CALLED' cannot be called: it is of type int."),
            (
                f"{HERE}.needs_more",
                {},
                "raised TypeError: needs_more() missing 1 required positional argument: 'scale'",
            ),
            (f"{HERE}.length", {"reward_args": {"a": 1}}, "raised TypeError: length() got an unexpected keyword"),
            (
                f"{HERE}.number_of",
                {},
                f"reward '{HERE}.number_of' raised ValueError: could not convert string to float",
            ),
            (
                f"{HERE}.number_of",
                {},
                "for an empty answer to the prompt '0 + 1 ='. It is called with a prompt's object and",
            ),
            (f"{HERE}.length", {"scores": ["exact"]}, "returned the number 0 alone, and task.scores declares exact"),
            (
                f"{HERE}.exact",
                {"scores": ["well_formed"]},
                "'exact' beside the reward, which task.scores does not declare: add it there",
            ),
            (f"{HERE}.exact", {"scores": ["exakt", "well_formed"]}, "returned no 'exakt', which task.scores declares"),
        ],
    )
    def test_refuses(self, name: str, arguments: Any, message: str, made: Any, seconds: float | None) -> None:
        with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
            made(name, seconds=seconds, **arguments).check(PROMPTS)
        assert caught.value.argument == "reward" and str(caught.value).startswith("reward ")

    def test_names_the_first_prompt_that_fails(self, made: Any, seconds: float | None) -> None:
        prompts = [PROMPTS[0], {"messages": [{"role": "user", "content": "What " * 40}]}]
        with pytest.raises(ConfigurationError, match=r"KeyError: 'target' .* to the prompt 'What What .*\.\.\.'"):
            made("exact", scores=["exact", "well_formed"], seconds=seconds).check(prompts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reward": "reward"}, "reward must be the import path of a function, such as my_module.reward; got 'reward'."),
        ({"reward": 3}, "reward must be a function or its import path; got 3."),
        ({"scores": "exact"}, "scores must be a list of names; got 'exact'."),
        ({"scores": ["a", ""]}, "scores must be a list of names; got ['a', '']."),
        ({"scores": ["a", "a"]}, "scores must be different names beside reward; 'a' is there twice."),
        ({"scores": ["reward"]}, "scores must be different names beside reward; 'reward' is there in any case."),
        ({"seconds": 0}, "reward_seconds must be above 0, or null for no limit; got 0."),
        ({"seconds": math.inf}, "reward_seconds must be above 0, or null for no limit; got inf."),
        ({"worst": -math.inf}, "worst_reward must be a finite number; got -inf."),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Rewards(**{"reward": f"{HERE}.length", **arguments})


def test_what_cannot_be_sent_to_a_process(made: Any) -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigurationError, match=r"cannot be sent to the process .* pickling it raised .*seconds=None"):
        made(lambda prompt, answer: lock.locked())
    assert rated(made(lambda prompt, answer: lock.locked(), seconds=None), "").reward_n.tolist() == [0]


def test_code_of_a_configuration_that_is_not_trusted() -> None:
    with only_own("config.yaml"), pytest.raises(ConfigurationError, match=r"names 'a\.b' as its task\.reward"):
        Rewards("a.b")


class TestProcess:
    def test_is_one_and_is_not_this_one(self, made: Any) -> None:
        reward = made("says_who")
        first, second = rated(reward, "a", "b"), rated(reward, "c")
        assert {*first.reward_n, *second.reward_n} == {first.reward_n[0]} != {os.getpid()}
        reward.close()
        assert ends(int(first.reward_n[0])) and rated(reward, "d").reward_n[0] != first.reward_n[0]

    def test_its_surroundings(self, made: Any) -> None:
        """Rewards run in its main thread, where alarms work; Ctrl-C and GPUs are far away; torch is not imported."""
        names = ["alarm", "torch", "ignores", "gpus_hidden", "own_group", "argv", "stdin"]
        assert rated(made("surroundings", scores=names), "").scores_nV.tolist() == [[1, 0, 1, 1, 1, 1, 1]]

    def test_order_of_sets_is_the_same_in_all(self, made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTHONHASHSEED", raising=False)
        one, other = (rated(made(lambda prompt, answer: float(hash(answer))), "a", "b") for _ in range(2))
        assert (one.reward_n == other.reward_n).all() and one.reward_n[0] != one.reward_n[1]

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ("os._exit", "ended its process with the exit code 3"),
            ("sys.exit", "raised SystemExit: 4 ("),
            ("abort", "ended its process by the signal SIGABRT"),
            ("segmentation fault", "ended its process by the signal SIGSEGV"),
            ("kill", "ended its process by the signal SIGKILL, as a machine does that runs out of memory"),
            ("interrupt", "raised KeyboardInterrupt"),
            ("sleep", "took more than 0.3 s"),
            ("loop", "took more than 0.3 s"),
            ("lock", "took more than 0.3 s"),
            ("recursion", "raised RecursionError"),
            ("memory", "raised MemoryError"),
            ("forked", "ended its process with the exit code 5"),
        ],
    )
    def test_dies_or_hangs_and_the_others_go_on(self, how: str, message: str, made: Any) -> None:
        reward = made("dies", seconds=0.3 if message.startswith("took") else 30.0, worst=-1.0)
        for answers in (["abc", how, "de"], ["a", how]):
            scored = rated(reward, *answers)
            assert scored.reward_n.tolist() == [-1 if one == how else len(one) for one in answers]
            assert scored.failed == 1 and scored.first_failure.startswith(f"The reward {HERE}.dies {message}")
            assert f"for the answer {how!r} to" in scored.first_failure
        assert rated(reward, "abc").reward_n.tolist() == [3]

    def test_hangs_up(self, made: Any) -> None:
        scored = rated(made("dies", worst=-1.0), "abc", "hang up", "de")
        assert scored.reward_n.tolist() == [3, -1, 2] and "closed its connection to the worker" in scored.first_failure

    def test_several_deaths_and_the_first_is_told(self, made: Any) -> None:
        scored = rated(made("dies", worst=-1.0), "a", "sys.exit", "os._exit", "abc", "kill", "interrupt")
        assert scored.reward_n.tolist() == [1, -1, -1, 3, -1, -1] and scored.failed == 4
        assert "raised SystemExit: 4" in scored.first_failure

    def test_time_is_for_each_answer(self, made: Any) -> None:
        reward = made(lambda prompt, answer: __import__("time").sleep(0.15) or 1.0, seconds=1.0)
        assert rated(reward, *"abcdefgh").failed == 0

    def test_one_that_died_between_two_batches_is_started_again(self, made: Any) -> None:
        reward = made("says_who")
        process = int(rated(reward, "a").reward_n[0])
        os.kill(process, signal.SIGKILL)
        scored = rated(reward, "a", "b")
        assert scored.failed == 0 and process not in scored.reward_n

    def test_check_refuses_one_that_dies_or_hangs(self, made: Any, tmp_path: Path) -> None:
        for code, message in (
            ("os._exit(3)", "ended its process with the exit code 3"),
            ("1 / 0", "ZeroDivisionError"),
        ):
            (tmp_path / "dying_reward.py").write_text(f"import os\n{code}\n")
            sys.path.append(str(tmp_path))
            try:
                with pytest.raises(ConfigurationError, match=rf"^reward 'dying_reward\.reward' .*{re.escape(message)}"):
                    made("dying_reward.reward").check(PROMPTS)
            finally:
                sys.path.remove(str(tmp_path))
        with pytest.raises(ConfigurationError, match=r"took more than 0\.2 s, for an empty answer"):
            made(lambda prompt, answer: __import__("time").sleep(60), seconds=0.2).check(PROMPTS)

    def test_interrupting_the_worker_spoils_no_later_batch(self, made: Any) -> None:
        reward = made("dies")

        def interrupt() -> bool:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            reward([PROMPTS[0]] * 2, ["sleep", "a"], interrupt)
        assert rated(reward, "abc", "d").reward_n.tolist() == [3, 1]

    def test_what_it_has_started_ends_with_it(self, made: Any, tmp_path: Path) -> None:
        reward = made("notes", reward_args={"folder": str(tmp_path)}, seconds=0.5)
        scored = rated(reward, "loop")
        assert "took more than 0.5 s" in scored.first_failure
        assert ends(*_noted(tmp_path))


def _noted(folder: Path) -> list[int]:
    """The processes that a reward has noted, once it has."""
    deadline = time.monotonic() + 20
    while not (found := [path for path in folder.iterdir() if path.suffix == ""]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [int(one) for path in found for one in path.read_text().split()]


WORKER = """
import json, os, signal, sys
from distes.tasks.language.rewards.rewards import Rewards
how, folder, answer = sys.argv[1:]
reward = Rewards("tests.support.rewards.notes", {"folder": folder}, seconds=100)
if how == "exit":
    reward([{"prompt": "a"}], ["abc"])
    sys.exit()
reward([{"prompt": "a"}], [answer])
"""


class TestEndOfTheWorker:
    """The process must not outlive the worker, and neither may what rewards have started."""

    def start(self, how: str, folder: Path, answer: str = "") -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, how, str(folder), answer],
            env=environment,
            cwd=ROOT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in what a shell starts by `&`
        )

    @pytest.mark.parametrize("answer", [pytest.param("sleep", marks=pytest.mark.slow), "lock"])
    def test_by_sigkill(self, answer: str, tmp_path: Path) -> None:
        worker = self.start("kill", tmp_path, answer)
        noted = _noted(tmp_path)
        assert len(noted) == 2 and all(alive(one) for one in noted)
        worker.kill()
        worker.wait()
        assert ends(*noted)

    @pytest.mark.slow
    def test_by_its_end(self, tmp_path: Path) -> None:
        worker = self.start("exit", tmp_path)
        assert worker.wait(30) == 0
        noted = _noted(tmp_path)
        assert len(noted) == 2 and ends(*noted)

    @pytest.mark.slow
    def test_by_ctrl_c(self, tmp_path: Path) -> None:
        worker = self.start("interrupt", tmp_path, "sleep")
        noted = _noted(tmp_path)
        worker.send_signal(signal.SIGINT)
        assert worker.wait(30) in (-signal.SIGINT, 1, 130) and ends(*noted)


@pytest.mark.slow
def test_in_ray_workers() -> None:
    """Each has a process of its own, and is killed with it."""
    code = """
import json, os, ray
from distes.tasks.language.rewards.rewards import Rewards
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

@ray.remote(num_cpus=1)
class Worker:
    def __init__(self, rewards): self.rewards = rewards
    def rate(self, answers): return self.rewards([{"prompt": "a"}] * len(answers), answers).reward_n.tolist()

sent = Rewards("tests.support.rewards.says_who"), Rewards(lambda prompt, answer: 3.0 * len(answer))
workers = [Worker.remote(sent[0]) for _ in range(2)]
found = [ray.get(worker.rate.remote(["a", "b"])) for worker in workers]
ray.kill(workers[0])
found.append(ray.get(Worker.remote(sent[1]).rate.remote(["ab", "c"])))
print(json.dumps(found), flush=True)
ray.shutdown()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    first, second, live = json.loads(done.stdout.splitlines()[-1])
    assert len({*first, *second}) == 2 and live == [6, 3]
    assert ends(*map(int, {*first, *second}))


def test_a_notebook_s_or_script_s_own_function_runs_in_the_process(tmp_path: Path) -> None:
    """A script without a guard is not run again by it."""
    (tmp_path / "script.py").write_text(
        "from distes.tasks.language.rewards.rewards import Rewards\n"
        "print('once')\n"
        "def reward(prompt, answer):\n    return len(answer) + prompt['n']\n"
        "made = Rewards(reward)\n"
        "made.check([{'prompt': 'a', 'n': 1}])\n"
        "print(made([{'prompt': 'a', 'n': 1}], ['abc']).reward_n.tolist())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, text=True)
    assert out.stdout.split() == ["once", "[4.0]"], out.stderr


def test_different_lengths_are_a_bug() -> None:
    answers: Sequence[str] = ["a"]
    with pytest.raises(ValueError, match="There are 0 prompts and 1 answers"):
        Rewards(f"{HERE}.length")([], answers)
