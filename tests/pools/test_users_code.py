"""A user's classes: what they raise is theirs, what they return is looked at, what they are handed is read-only."""

import dataclasses
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from distes.api.building.policy import build_policy
from distes.cli import main
from distes.errors import ConfigurationError, DistesWarning, EvaluationError
from distes.noise.table import NoiseTable
from distes.policies.linear import Linear
from distes.pools.chunks import Chunk
from distes.pools.experiment import Experiment
from distes.pools.on_ray.calls import CallStatus, what_became
from distes.pools.on_ray.pool import RayPool
from distes.pools.replica import PopulationOutline, Replica, TellMessage
from distes.pools.serial import SerialPool
from distes.pools.worker import Worker
from distes.population import Evaluation, Genomes, Moments, Normalization, Population, ReadOnly
from distes.strategies.openai_es import OpenAIES
from distes.tasks.base import Outcome, Request
from distes.tasks.functions import Function
from distes.training.trainer import Trainer
from tests.support.odd_policies import Sampled
from tests.support.small import Log, evaluate, parts, population, sphere, trainer
from tests.support.users_classes import (
    Asks,
    Broken,
    FailsInWorkers,
    Ones,
    OwnArrays,
    Returns,
    Tells,
    WritesMembers,
)

FEW = "--workers 0 --generations 2 --eval_episodes 0 --final_episodes 0 --strategy.population_size 4 --noise.size 20000"
HERE = "tests.support.users_classes"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            f"--task {HERE}.Broken",
            "error: Pairs 0 to 1 of generation 1 could not be evaluated: "
            "tests.support.users_classes.Broken.evaluate, which is not part of distes, "
            "raised KeyError: \"no column 'price'\" (",
        ),
        (f"--task {HERE}.Broken --task.what assert", "raised AssertionError in 'assert where is None' ("),
        (f"--task {HERE}.Broken --task.where init", 'error: task: Broken cannot be made: it raised KeyError: "no col'),
        (f"--task {HERE}.Broken --task.where check", 'error: task: Broken cannot be made: it raised KeyError: "no c'),
        (f"--task {HERE}.Ones --policy {HERE}.Picky", "users_classes.Ones.evaluate, which is not part of distes, rais"),
        (f"--task {HERE}.WritesSeeds", "assignment destination is read-only"),
        (f"--task {HERE}.Ones --strategy {HERE}.WritesFitness", "read-only"),
    ],
)
def test_what_a_users_class_raises_is_theirs(
    flags: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"{flags} {FEW} --run_dir {tmp_path / 'run'}".split()) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in said and "users_classes.py:" in said and "this is a bug" not in said


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("raise KeyError('x')", "broken_module raised KeyError: 'x' ({path}:2)."),
        ("import sys; sys.exit(0)", "broken_module raised SystemExit: 0 ({path}:2)."),
        ("def f(:", "broken_module raised SyntaxError: "),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_line(
    line: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken_module.py"
    path.write_text(f"import torch\n{line}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(f"--policy broken_module.Net {FEW}".split()) == 2
    assert sentence.format(path=path) in capsys.readouterr().err


def test_the_traceback_of_a_worker_comes_along_for_debugging() -> None:
    ray_exceptions = pytest.importorskip("ray.exceptions")
    cause = EvaluationError("a sentence")
    error = ray_exceptions.RayTaskError("evaluate", "Traceback ...\n  File users.py, line 7", cause)
    status, found = what_became(error)
    assert status is CallStatus.FAILED and found is cause
    assert "users.py, line 7" in "".join(pickle.loads(pickle.dumps(found)).__notes__)


@pytest.mark.parametrize("what", ["KeyError", "assert"])
def test_a_worker_names_the_users_class(what: str) -> None:
    made = parts(Broken(what=what))
    asked = population(made.strategy(population_size=8), first_pair=100)
    with pytest.raises(EvaluationError, match=r"^Pairs 101 to 102 of generation 1 .*users_classes\.Broken\.evaluate"):
        Worker(made.experiment).evaluate(asked, Chunk(0, 1, 3))


def good(count: int) -> Outcome:
    return Outcome(np.zeros(count), np.ones(count, np.int64), count)


def changed(**changes: Callable[[int], Any]) -> Callable[[int], Outcome]:
    return lambda count: dataclasses.replace(good(count), **{key: make(count) for key, make in changes.items()})


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (None, r"a distes\.tasks\.base\.Outcome from evaluate; got nothing"),
        (lambda count: np.zeros(count), "got a ndarray"),
        (
            changed(fitness_B=lambda n: np.zeros(n + 1)),
            r"fitness_B of shape \(4,\), numbers; got shape \(5,\), float64",
        ),
        (changed(fitness_B=lambda n: np.zeros((n, 1))), r"fitness_B of shape \(4,\), numbers; got shape \(4, 1\)"),
        (changed(fitness_B=lambda n: None), r"fitness_B of shape .* got shape \(\), object"),
        (changed(fitness_B=lambda n: ["a"] * n), r"fitness_B of shape .* got shape \(4,\), <U1"),
        (changed(fitness_B=lambda n: [[1], [2, 3]]), r"fitness_B as an array; got a list, and NumPy raised ValueError"),
        (changed(steps_B=lambda n: np.ones(n)), r"steps_B of shape \(4,\), whole numbers; got shape \(4,\), float64"),
        (changed(steps_B=lambda n: -np.ones(n, np.int64)), "no negative steps_B"),
        (changed(episodes=lambda n: None), "at least 1 episode"),
        (changed(moments=lambda n: (1, 2)), r"moments as a distes\.population\.Moments or None; got a tuple"),
        (changed(behaviour_BD=lambda n: np.zeros(n)), r"behaviour_BD of shape \(4, D\), numbers; got shape \(4,\)"),
    ],
)
def test_what_a_task_returns_is_looked_at(what: Any, sentence: str) -> None:
    made = parts(Returns(what))
    with pytest.raises(EvaluationError, match=f"The task Returns must return.*{sentence}"):
        Worker(made.experiment).evaluate(population(made.strategy(population_size=4)), Chunk(0, 0, 2))


def test_a_task_that_describes_behaviour_must() -> None:
    made = parts(Returns(good, describes=True))
    with pytest.raises(EvaluationError, match="behaviour_BD, since its describes_behaviour is True; got None"):
        Worker(made.experiment).evaluate(population(made.strategy(population_size=4)), Chunk(0, 0, 2))


def test_lists_and_other_floats_will_do() -> None:
    def lists(count: int) -> Outcome:
        given: dict[str, Any] = {
            "fitness_B": torch.arange(count, dtype=torch.float32),
            "steps_B": [3] * count,
            "episodes": np.int64(count),
            "behaviour_BD": [[1, 2]] * count,
        }
        return Outcome(**given)

    made = parts(Returns(lists))
    got = evaluate(SerialPool(made.experiment), population(made.strategy(population_size=4)))
    assert got.fitness_N2.tolist() == [[0, 1], [2, 3]] and got.fitness_N2.dtype == np.float64
    assert got.steps_N2.tolist() == [[3, 3], [3, 3]] and got.behaviour_N2D is not None
    assert got.behaviour_N2D.dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"task": "lock"},
            "The task Ones cannot be sent to workers, since pickling it raised TypeError: cannot pickle",
        ),
        ({"policy": "weight_norm"}, "The policy Sequential cannot be sent .* Serialization of parametrized modules"),
    ],
)
@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning", "ignore:There is a performance drop:UserWarning")
def test_what_cannot_be_sent_is_refused_before_a_cluster_is_joined(changes: dict[str, str], sentence: str) -> None:
    task, policy = Ones(), None
    if "task" in changes:
        task.lock = threading.Lock()  # type: ignore[attr-defined]
    else:
        policy = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(1, 1)))
    made = parts(task, policy)
    with pytest.raises(ConfigurationError, match=sentence):
        RayPool(made.experiment, workers=1)
    assert evaluate(SerialPool(made.experiment), population(made.strategy(population_size=4))).episodes == 4


def test_a_task_need_not_select() -> None:
    """A fresh set of members is all of them, whoever ran before."""
    made = parts(Ones())
    asked, worker = population(made.strategy(population_size=8)), Worker(made.experiment)
    for start, stop in ((0, 4), (2, 3), (1, 4)):
        members_NSP = made.strategy(population_size=8).parameters(asked)[start:stop]
        expected_N2 = -np.square(members_NSP[..., 0].astype(np.float64))
        np.testing.assert_allclose(worker.evaluate(asked, Chunk(0, start, stop)).fitness, expected_N2, rtol=1e-5)


def test_members_that_ran_before_come_back_as_they_were_selected() -> None:
    made, x_BK = parts(Ones()), torch.ones(2, 1, 1)
    one, other = made.members([1, 2, 3], [1, 1, 1]), made.members([7, 8], [1, 1])
    one.select(np.array([2, 0]))
    with torch.inference_mode():
        before = one(x_BK).clone()
        assert not torch.equal(other(x_BK), before)
        assert torch.equal(one(x_BK), before)
        one.parameters()
        assert torch.equal(one(x_BK), before)


@pytest.mark.parametrize("indices", [[-1], [3], [0.0, 1.0], [True, False, True], [], [[0]], "ab", None])
def test_only_members_can_be_selected(indices: Any) -> None:
    with pytest.raises(IndexError, match=r"members\.select takes numbers of members, from 0 to 2; got"):
        parts(Ones()).members([1, 2, 3], [1, 1, 1]).select(indices)


def test_rows_must_be_those_of_the_selected_members() -> None:
    members = parts(Ones()).members([1, 2, 3], [1, 1, 1])
    with pytest.raises(ValueError, match=r"for the B = 3 selected members; got shape \(4, 1, 1\)"):
        members(torch.ones(4, 1, 1))
    with pytest.raises(TypeError, match=r"has no memory: call members\(x\)"):
        members.step(torch.ones(3, 1, 1), torch.ones(3, 1, 1))


RECORDS: list[Callable[[], ReadOnly]] = [
    lambda: Evaluation.of(np.zeros((4, 2)), behaviour=np.zeros((8, 2)), eval_fitness=np.zeros(2)),
    lambda: sphere().strategy(population_size=4).ask(),
    lambda: Request(np.zeros(3, np.uint64), observed_B=np.ones(3, bool)),
    lambda: Normalization(np.zeros(2, np.float32), np.ones(2, np.float32)),
    lambda: Moments(1, np.zeros(2), np.zeros(2)),
    lambda: Genomes.of([(1, 2)], "normal"),
]


@pytest.mark.parametrize("make", RECORDS)
def test_records_are_read_only_here_and_after_a_journey(make: Callable[[], ReadOnly]) -> None:
    record = make()
    for one in (record, pickle.loads(pickle.dumps(record)), dataclasses.replace(record)):  # type: ignore[type-var]
        arrays = [value for value in vars(one).values() if isinstance(value, np.ndarray)]
        assert arrays and not any(array.flags.writeable for array in arrays)


def test_an_array_stays_writable_for_who_made_it() -> None:
    mine_B = np.zeros(3, np.uint64)
    request = Request(mine_B)
    mine_B[0] = 7
    assert request.seeds_B[0] == 7


def read_only(thing: Any) -> Any:
    """As Ray brings it: arrays lie in shared memory."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[memoryview(bytes(buffer.raw())) for buffer in buffers])


def test_a_strategy_that_travelled_may_write_to_its_own_arrays() -> None:
    made = sphere()
    driver = OwnArrays(made.centre_P, made.perturbation, 3, population_size=8)
    travelled = read_only(driver)
    assert not travelled.mean_P.flags.writeable
    replica = Replica(travelled, travelled._perturbation)
    for _ in range(3):
        asked = driver.ask()
        assert replica.complete(PopulationOutline.of(asked)).centre_P.tobytes() == asked.centre_P.tobytes()
        evaluation = Evaluation.of(np.arange(8.0))
        replica.follow([read_only(TellMessage(asked.generation, evaluation, "cpu"))])
        driver.tell(evaluation)


def test_a_strategy_that_fails_in_a_worker_is_named() -> None:
    made = sphere()
    driver = FailsInWorkers(made.centre_P, made.perturbation, 3, population_size=8)
    worker, asked = Worker(dataclasses.replace(made.experiment, strategy=driver)), driver.ask()
    evaluation = Evaluation.of(np.arange(8.0))
    with pytest.raises(LookupError):  # nobody hears it
        worker.follow(TellMessage(0, evaluation, "cpu"))
    driver.tell(evaluation)
    with pytest.raises(EvaluationError, match=r"FailsInWorkers\._tell, which .* raised LookupError: no licence"):
        worker.evaluate(
            PopulationOutline.of(driver.ask()), Chunk(0, 0, 2), TellMessage(asked.generation, evaluation, "cpu")
        )


def test_what_members_return_may_be_written_to() -> None:
    made = parts(WritesMembers())
    evaluate(SerialPool(made.experiment), population(made.strategy(population_size=4)))


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
@pytest.mark.filterwarnings("ignore::distes.errors.DistesWarning")
def test_policies_that_draw_repeat_whoever_evaluates_a_chunk(source: str) -> None:
    torch.manual_seed(0)
    made = parts(Ones(), Sampled(1, 1, source))
    asked, results = population(made.strategy(population_size=64)), []
    for order in ([0, 8, 16, 24], [16, 8], [24], [0]):
        worker = Worker(made.experiment)
        results.append({start: worker.evaluate(asked, Chunk(0, start, start + 8)).fitness for start in order})
    for later in results[1:]:
        for start, fitness in later.items():
            np.testing.assert_array_equal(fitness, results[0][start])
    assert not np.array_equal(results[0][0], results[0][8])


def fitting(**changes: Any) -> dict[str, Any]:
    made = sphere()
    given = {"task": made.task, "strategy": made.strategy(), "noise": made.noise, "pool": SerialPool(made.experiment)}
    return {**given, "generations": 1, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"strategy": OpenAIES},
            r"strategy must be an instance of .*Strategy; got the class OpenAIES: call it",
        ),
        ({"task": lambda: 1}, r"task must be an instance of distes\.tasks\.base\.Task; got the callable <lambda>"),
        ({"task": Function}, "got the class Function"),
        ({"noise": 7}, r"noise must be .*NoiseTable; got an instance of builtins\.int"),
        ({"pool": None}, "pool must be"),
        ({"monitors": Log()}, "monitors must be"),
        ({"monitors": [print]}, "a monitor must be an instance of .*Monitor; got the callable print"),
        ({"monitors": [Log]}, "a monitor must be an instance of .*Monitor; got the class Log"),
    ],
)
def test_a_trainer_takes_instances(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Trainer(**fitting(**changes))


def test_an_experiment_takes_instances() -> None:
    made = sphere()
    for name, thing in (("task", Function), ("policy", Linear), ("noise", NoiseTable), ("perturbation", None)):
        given = {"task": made.task, "policy": made.policy, "perturbation": made.perturbation, "noise": made.noise}
        with pytest.raises(ConfigurationError, match=f"^{name} must be an instance of"):
            Experiment.of(**{**given, name: thing})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        (None, r"Asks\.ask must return a distes\.population\.Population; got None"),
        ([1, 2], "got a list"),
        ({"ids_N": [1, 2]}, r"with ids_N of shape \(N,\), whole numbers, at least one; got a list"),
        ({"ids_N": np.zeros(0, np.int64)}, r"at least one; got shape \(0,\), int64"),
        ({"seeds_N": np.zeros(3, np.uint64)}, "a seed for each of its 4 directions; got 3"),
        ({"seeds_N": np.zeros(4)}, r"seeds_N of shape \(N,\), uint64; got shape \(4,\), float64"),
        ({"centre_P": np.zeros(10)}, r"centre_P of shape \(P,\), float32; got shape \(10,\), float64"),
        ({"sigma": np.ones(3, np.float32)}, r"sigma as a number or of shape \(10,\); got shape \(3,\)"),
    ],
)
def test_what_a_strategy_asks_for_is_looked_at(what: Any, sentence: str) -> None:
    made = sphere()
    strategy = Asks(made.centre_P, made.perturbation, 3, population_size=8)
    asked: Population = made.strategy(population_size=8).ask()
    strategy.what = dataclasses.replace(asked, **what) if isinstance(what, dict) else what
    with pytest.raises(ConfigurationError, match=sentence):
        trainer(made, strategy=strategy, generations=1).run()


@pytest.mark.parametrize(
    ("metrics", "kept", "said"),
    [
        (None, {}, "must return a dictionary of metrics; it returned a NoneType"),
        ({"mine": 2, "other": np.float32(3)}, {"mine": 2, "other": 3.0}, None),
        ({"generation": 7, "mine": 1}, {"mine": 1, "generation": 1}, "the metric 'generation', and distes records one"),
        ({"mine": "high"}, {}, "the metric 'mine', which is a str and no number"),
        ({3: 1.0}, {}, "the metric 3,"),
    ],
)
def test_metrics_that_cannot_be_recorded_are_left_out_and_named(
    metrics: Any, kept: dict[str, float], said: str | None, recwarn: pytest.WarningsRecorder
) -> None:
    made, log = sphere(), Log()
    strategy = Tells(made.centre_P, made.perturbation, 3, population_size=8)
    strategy.metrics = metrics
    trainer(made, strategy=strategy, generations=1, monitors=[log]).run()
    line = log.lines[0]
    assert {key: line[key] for key in kept} == kept and not {"mine", 3} & set(line) - set(kept)
    sentences = [str(one.message) for one in recwarn if one.category is DistesWarning]
    assert any(said in sentence for sentence in sentences) if said else not sentences


@pytest.mark.parametrize(
    ("shape", "size", "sentence"),
    [([1], 1, r"observation_shape must be a tuple .* got \[1\]"), ((1,), 2.0, "action_size .* got 2.0")],
)
def test_sizes_that_are_none_are_refused(
    shape: Any, size: Any, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Ones, "observation_shape", shape)
    monkeypatch.setattr(Ones, "action_size", size)
    assert main(f"--task {HERE}.Ones {FEW}".split()) == 2
    assert re.search(sentence, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("start", "answer", "sentence"),
    [
        (None, 0, r"initial_state\(rows\) of shape \(rows, S\), float32; got a NoneType for one row"),
        (torch.zeros(5), 0, r"initial_state.* got \(5,\), float32"),
        (torch.zeros(1, 5, dtype=torch.float64), 0, r"initial_state.* got \(1, 5\), float64"),
        (torch.zeros(1, 5), torch.zeros(1, 2), r"must answer with \(output, state\); got \(1, 2\), float32"),
        (torch.zeros(1, 5), (torch.zeros(1, 2), torch.zeros(1, 4)), r"a state like .* \(1, 5\), float32; got \(1, 4\)"),
        (
            torch.zeros(1, 5),
            (torch.zeros(2), torch.zeros(1, 5)),
            r"with shape \(1, 2\).* got \(2,\)",
        ),
        (torch.zeros(1, 5), (None, torch.zeros(1, 5)), r"answer one observation with shape .* got a NoneType"),
    ],
)
def test_what_a_policy_with_memory_answers_is_looked_at(start: Any, answer: Any, sentence: str) -> None:
    part = {"class_path": f"{HERE}.Answers", "init_args": {"start": start, "answer": answer}}
    with pytest.raises(ConfigurationError, match=f"The policy Answers .*{sentence}"):
        build_policy(part, (3,), 2)


def test_another_default_dtype_of_torch_is_refused() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ConfigurationError, match="torch's default dtype is float64, and distes"):
            build_policy({"class_path": "distes.policies.mlp.MLP", "init_args": {}}, (3,), 2)
    finally:
        torch.set_default_dtype(torch.float32)
