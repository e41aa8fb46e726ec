"""The generation loop: when it stops, what it tells, and that stopping it in whatever way costs nothing but time.

Axes: B members evaluated together, E episodes of the centre.
"""

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from distes.errors import ConfigurationError, EvaluationError
from distes.members.members import Members
from distes.noise.draws import Stream, draw
from distes.policies.layout import Layout
from distes.pools.base import Interrupted, Pool, Status
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Population
from distes.runs.checkpoint import Checkpoints
from distes.runs.directory import RunDirectory
from distes.runs.monitors.base import Metrics
from distes.runs.policy_files import load_policy
from distes.tasks.base import Outcome, Request, Task
from distes.tasks.gym.gym import Gym
from tests.reference import episode_seed
from tests.support.long_run import run
from tests.support.small import ECHO, ROOT, Log, Parts, archive, drift, parts, population, sphere, train, trainer


@dataclass
class Rigged(Task):
    """The centre's fitness in an episode is written down by the episode's draw; members just get their place."""

    by_seed: Mapping[int, float] = field(default_factory=dict)
    threshold: float | None = None

    @property
    def observation_shape(self) -> tuple[int, ...]:
        return (1,)

    @property
    def action_size(self) -> int:
        return 3

    @property
    def reward_threshold(self) -> float | None:
        return self.threshold

    def evaluate(self, members: Members, request: Request) -> Outcome:
        count = len(members)
        fitness_B = np.arange(count, dtype=np.float64)
        if not request.training:
            fitness_B = np.array([self.by_seed.get(int(seed), 0.0) for seed in request.seeds_B])
        return Outcome(fitness_B, np.full(count, 3), count)


def seeds(generation: int, stream: Stream, count: int) -> list[int]:
    """The draws of the centre's episodes in a run of seed 3, as `small.trainer` makes it."""
    return draw(3, generation, stream, count).tolist()


def rigged(values: Mapping[tuple[int, Stream], list[float]], threshold: float | None = None) -> Parts:
    by_seed: dict[int, float] = {}
    for (generation, stream), fitness in values.items():
        by_seed |= dict(zip(seeds(generation, stream, len(fitness)), fitness, strict=True))
    return parts(Rigged(by_seed, threshold))


class TestWhenItStops:
    def test_after_so_many_generations(self) -> None:
        log = Log()
        result = trainer(sphere(), generations=4, monitors=[log]).run()
        assert (result.reason, result.generation, result.timesteps) == ("generations", 4, 4 * 16)
        assert log.column("generation") == [1, 2, 3, 4] and log.closed == 1

    def test_after_so_many_timesteps(self) -> None:
        """In the first generation that has spent them."""
        result = trainer(sphere(), generations=None, total_timesteps=65).run()
        assert (result.reason, result.generation, result.timesteps) == ("total_timesteps", 5, 80)

    def test_after_so_many_seconds(self) -> None:
        result = trainer(sphere(), generations=None, max_seconds=0.2).run()
        assert result.reason == "max_seconds" and 0.2 <= result.seconds < 20 and result.generation > 1

    def test_when_the_first_limit_is_reached(self) -> None:
        result = trainer(sphere(), generations=3, total_timesteps=10**9, max_seconds=10**9, target_fitness=1.0).run()
        assert result.reason == "generations"

    def test_nothing_to_do(self) -> None:
        result = trainer(sphere(), generations=0).run()
        assert (result.reason, result.generation, result.timesteps) == ("generations", 0, 0)
        assert math.isnan(result.eval_mean) and result.eval_episodes == 0

    def test_a_target_counts_when_further_episodes_confirm_it(self) -> None:
        """In generation 1 luck has it; in generation 3 it holds."""
        values = {
            (1, Stream.EVALUATION): [5.0, 5.0],
            (1, Stream.FINAL_EVALUATION): [1.0, 5.0, 1.0, 1.0],
            (3, Stream.EVALUATION): [4.0, 5.0],
            (3, Stream.FINAL_EVALUATION): [4.0, 5.0, 4.0, 5.0],
        }
        log = Log()
        result = trainer(rigged(values), target_fitness=4.5, final_episodes=4, generations=9, monitors=[log]).run()
        assert (result.reason, result.generation) == ("target_fitness", 4)
        assert (result.eval_mean, result.eval_std, result.eval_episodes) == (4.5, 0.5, 4)
        assert log.column("eval/mean") == [0, 2, 0, 4.5]
        assert log.column("eval/episodes") == [2, 4, 2, 4]

    def test_the_environment_s_own_threshold_is_the_target(self) -> None:
        values = {(2, stream): [7.0] * 4 for stream in (Stream.EVALUATION, Stream.FINAL_EVALUATION)}
        arguments: dict[str, Any] = {"generations": 5, "final_episodes": 4}
        assert trainer(rigged(values, threshold=7.0), **arguments).run().generation == 3
        assert trainer(rigged(values, threshold=7.5), **arguments).run().reason == "generations"
        assert trainer(rigged(values, threshold=7.0), target_fitness=8.0, **arguments).run().reason == "generations"
        assert trainer(rigged(values, threshold=7.0), target_fitness=math.inf, **arguments).run().generation == 5

    def test_a_target_needs_no_confirmation_where_none_is_wanted(self) -> None:
        result = trainer(rigged({(2, Stream.EVALUATION): [5.0, 6.0]}), target_fitness=5.5, final_episodes=0).run()
        assert (result.reason, result.generation) == ("target_fitness", 3)
        assert (result.eval_mean, result.eval_episodes) == (5.5, 2)

    def test_a_target_is_not_seen_where_the_centre_is_not_evaluated(self) -> None:
        values = {(g, Stream.EVALUATION): [9.0, 9.0] for g in (1, 2, 4, 5)}
        assert trainer(rigged(values), target_fitness=8, eval_every=3, generations=6).run().reason == "generations"

    @pytest.mark.parametrize(
        "arguments", [{}, {"target_fitness": math.inf}, {"target_fitness": 3.0, "eval_episodes": 0}], ids=str
    )
    def test_a_run_without_an_end_is_refused(self, arguments: Any) -> None:
        message = "would never end: set generations, total_timesteps, max_seconds, or target_fitness"
        with pytest.raises(ConfigurationError, match=message):
            trainer(sphere(), generations=None, **arguments)


class TestTheCentre:
    def test_is_evaluated_in_every_kth_generation(self) -> None:
        log = train(sphere(), generations=7, eval_every=3, eval_episodes=5)
        assert log.column("eval/episodes") == [5, None, None, 5, None, None, 5]
        evaluated = [key for key in log.lines[0] if key.startswith("eval/")]
        assert not set(evaluated) & set(log.lines[1]) and evaluated

    def test_is_the_one_from_which_the_population_was_made(self) -> None:
        made = sphere()
        log = train(made, generations=1)
        assert log.column("eval/mean") == [pytest.approx(-float(np.square(made.centre_P, dtype=np.float64).sum()))]

    def test_is_evaluated_at_the_end(self) -> None:
        values = {(2, Stream.FINAL_EVALUATION): [1.0, 2.0, 6.0]}
        result = trainer(rigged(values), generations=2, final_episodes=3, eval_episodes=0).run()
        assert (result.reason, result.eval_mean, result.eval_episodes) == ("generations", 3.0, 3)
        assert result.eval_std == pytest.approx(np.std([1, 2, 6]))

    def test_s_episodes_are_no_part_of_the_budget(self) -> None:
        log = train(rigged({}), generations=3, eval_episodes=7)
        assert log.column("timesteps") == [48, 96, 144] and log.column("episodes") == [16, 32, 48]


class TestWhatItTells:
    def test_a_line_per_generation_with_all_that_monitors_show(self) -> None:
        log = train(drift(), generations=3, eval_every=2)
        always = {
            *("generation", "timesteps", "episodes", "seconds", "fitness/mean", "fitness/max", "fitness/min"),
            *("fitness/std", "episode/length", "norm/centre", "norm/gradient", "norm/step", "norm/step_over_centre"),
            *("sigma", "learning_rate", "rate/timesteps", "rate/episodes", "time/ask", "time/evaluate", "time/update"),
            *(
                "time/record",
                "time/wait",
                "workers/place",
                "workers/alive",
                "workers/restarted",
                "workers/utilisation",
                "chunks/reissued",
            ),
            *("chunks/late", "chunks/duplicate", "chunks/retried"),
            *(f"fitness/p{percent}" for percent in (10, 25, 50, 75, 90)),
            *("bytes/down", "bytes/up"),
            *("params/sha256", "noise/fingerprint"),
        }
        of_the_centre = {"eval/mean", "eval/std", "eval/min", "eval/max", "eval/episodes", "eval/rank"}
        assert [set(line) for line in log.lines] == [always | of_the_centre, always, always | of_the_centre]
        assert all(type(value) in (int, float, str) for line in log.lines for value in line.values())

    def test_metrics_summarise_the_fitness_that_goes_with_them(self) -> None:
        log = train(drift(), generations=3)
        for line, fitness_N2 in zip(log.lines, log.fitness, strict=True):
            assert fitness_N2.shape == (8, 2)
            assert line["fitness/mean"] == pytest.approx(fitness_N2.mean())
            assert line["fitness/std"] == pytest.approx(fitness_N2.std())
            assert (line["fitness/max"], line["fitness/min"]) == (fitness_N2.max(), fitness_N2.min())
            assert line["eval/min"] <= line["eval/mean"] <= line["eval/max"]
        lengths = np.diff([0, *log.column("timesteps")]) / 16
        assert log.column("episode/length") == pytest.approx(lengths.tolist())
        assert sorted(log.column("seconds")) == log.column("seconds")
        assert all(0 < share <= 1 for share in log.column("workers/utilisation"))

    def test_members_without_a_finite_fitness_are_ranked_last_and_counted_where_that_is_configured(self) -> None:
        made = parts(Gym(ECHO, env_kwargs={"lengths": [1, 2], "rewards": [1.0, float("nan")]}))
        with pytest.raises(EvaluationError, match="which is not a finite number"):
            train(made, generations=2)
        log = train(made, generations=2, non_finite="worst", eval_episodes=0)
        for line, fitness_N2 in zip(log.lines, log.fitness, strict=True):
            assert np.isfinite(fitness_N2).all() and set(fitness_N2.ravel()) == {1.0, np.nextafter(1.0, -1)}
            assert line["fitness/non_finite"] == np.count_nonzero(fitness_N2 < 1) > 0

    def test_a_centre_whose_evaluation_is_nan_is_said_once(self) -> None:
        made = parts(Gym(ECHO, env_kwargs={"lengths": [1, 2], "rewards": [1.0, float("nan")]}))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            log = train(made, generations=3, non_finite="worst", eval_episodes=20)
        assert np.isnan(log.column("eval/mean")).all()
        (said,) = [str(one.message) for one in caught if "The centre of" in str(one.message)]
        assert re.match(
            r"The centre of generation 1 met NaN or infinity in \d+ of 20 evaluations, so its evaluation", said
        )

    def test_a_generation_without_any_finite_fitness_ends_the_run(self) -> None:
        made = parts(Gym(ECHO, env_kwargs={"rewards": [1.0, float("nan"), 1.0]}))
        with pytest.raises(EvaluationError, match="No member of generation 1 has a fitness that is a finite number"):
            train(made, generations=2, non_finite="worst", eval_episodes=0)

    def test_the_checksum_is_that_of_the_centre_s_bytes_after_the_generation(self) -> None:
        made = drift()
        strategy = made.strategy(population_size=16)
        log = Log()
        trainer(made, strategy=strategy, generations=2, monitors=[log]).run()
        assert log.column("params/sha256")[-1] == hashlib.sha256(strategy.centre_P.tobytes()).hexdigest()
        assert set(log.column("noise/fingerprint")) == {made.noise.fingerprint}

    def test_the_same_seed_gives_the_same_run_and_another_one_another(self) -> None:
        made = drift()
        first, again, other = (
            train(made, generations=3, strategy=made.strategy(seed, population_size=16)) for seed in (3, 3, 4)
        )
        assert first.what_must_agree == again.what_must_agree
        for column in ("eval/mean", "params/sha256"):
            assert first.column(column) != other.column(column)

    def test_the_seeds_of_the_centre_s_episodes_are_the_strategy_s(self) -> None:
        """Fewer are the first of more; those of the final evaluation are others."""
        strategy = sphere().strategy(3, population_size=16)
        for generation in range(2):
            assert strategy.evaluation_seeds(4).tolist() == seeds(generation, Stream.EVALUATION, 4)
            assert strategy.evaluation_seeds(2).tolist() == seeds(generation, Stream.EVALUATION, 2)
            final = strategy.evaluation_seeds(4, final=True)
            assert final.tolist() == seeds(generation, Stream.FINAL_EVALUATION, 4)
            strategy.tell(np.arange(16.0))

    def test_observations_are_learnt_from_and_frozen_during_a_generation(self) -> None:
        """The first generation sees none; each later one the moments of all before it, of the share that was asked."""
        pool = Recording(SerialPool(drift().experiment, pairs_per_chunk=3))
        train(drift(observation_fraction=0.3), pool, generations=3)
        asked, got = zip(*pool.seen, strict=True)
        assert [one.observed_N.sum() for one in asked] == [3, 3, 3]  # 30 % of eight pairs
        assert asked[0].normalization is None
        counts = [sum(moments.count for moments in one.moments) for one in got]
        means = [sum(m.mean_O * m.count for m in one.moments) / n for one, n in zip(got, counts, strict=True)]
        np.testing.assert_allclose(asked[1].normalization.mean_O, means[0], rtol=1e-5)
        both = (means[0] * counts[0] + means[1] * counts[1]) / sum(counts[:2])
        np.testing.assert_allclose(asked[2].normalization.mean_O, both, rtol=1e-5)


class Recording(Pool):
    """Keeps what was asked and answered, of pairs."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.seen: list[tuple[Any, Evaluation]] = []

    def evaluate(self, population: Population, stop: Any) -> Evaluation:
        got = self._pool.evaluate(population, stop)
        self.seen.append((population, got))
        return got

    def status(self) -> Status:
        return self._pool.status()

    def close(self) -> None:
        self._pool.close()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create(tmp_path / "run", "") as made:
        yield made


class TestGoingOn:
    @pytest.mark.parametrize(
        "arguments",
        [{}, {"optimizer": "SGD", "optimizer_args": {"momentum": 0.9}, "learning_rate": 0.5}],
        ids=["Adam", "momentum"],
    )
    def test_from_a_checkpoint_is_bit_for_bit_what_it_would_have_been(
        self, directory: RunDirectory, arguments: Any
    ) -> None:
        made = drift()

        def part(generations: int) -> list[tuple[Any, ...]]:
            log, strategy = Log(), made.strategy(population_size=16, **arguments)
            one = trainer(
                made, strategy=strategy, generations=generations, monitors=[log], archive=archive(directory, made)
            )
            assert one.restore() == (generations > 3)
            result = one.run()
            assert (result.reason, result.generation) == ("generations", generations)
            return log.what_must_agree

        parts_of_it = part(3) + part(4) + part(9)
        whole = train(made, strategy=made.strategy(population_size=16, **arguments), generations=9)
        assert parts_of_it == whole.what_must_agree

    def test_counts_on(self, directory: RunDirectory) -> None:
        made = sphere()
        first = trainer(made, generations=3, archive=archive(directory, made)).run()
        log, kept = Log(), archive(directory, made)
        second = trainer(made, generations=None, max_seconds=first.seconds + 0.1, monitors=[log], archive=kept)
        assert second.restore() and second.generation == 3
        result = second.run()
        assert log.column("seconds")[0] > first.seconds
        assert result.timesteps == 16 * result.generation > 3 * 16
        assert result.seconds >= first.seconds + 0.1

    def test_a_spent_budget_is_spent(self, directory: RunDirectory) -> None:
        made = sphere()
        trainer(made, generations=3, archive=archive(directory, made)).run()
        again = trainer(made, generations=3, archive=archive(directory, made), final_episodes=2)
        assert again.restore()
        result = again.run()
        assert (result.reason, result.generation, result.eval_episodes) == ("generations", 3, 2)

    def test_a_target_that_was_reached_stays_reached_until_it_is_set_higher(self, directory: RunDirectory) -> None:
        made = rigged({(2, Stream.EVALUATION): [5.0, 6.0]})
        results = []
        for target in (5.5, 5.0, 7.0):
            one = trainer(made, target_fitness=target, generations=5, archive=archive(directory, made))
            assert one.restore() == bool(results)
            results.append(one.run())
        assert results[0] == results[1]
        assert [(result.reason, result.generation) for result in results[1:]] == [
            ("target_fitness", 3),
            ("generations", 5),
        ]

    def test_without_a_checkpoint_there_is_nothing_to_go_on_from(self, directory: RunDirectory) -> None:
        assert not trainer(sphere(), archive=archive(directory, sphere())).restore()
        assert not trainer(sphere()).restore()

    def test_a_damaged_checkpoint_costs_the_generations_since_the_one_before(self, directory: RunDirectory) -> None:
        made = drift()
        for generations in (2, 4):
            one = trainer(made, generations=generations, archive=archive(directory, made, checkpoint_seconds=1e9))
            one.restore()
            one.run()
        newest = directory.checkpoints / "generation-00000004" / "state.safetensors"
        newest.write_bytes(newest.read_bytes()[:-1])
        said: list[str] = []
        log = Log()
        resumed = trainer(made, generations=6, monitors=[log], archive=archive(directory, made, say=said.append))
        assert resumed.restore() and resumed.generation == 2
        assert len(said) == 1 and "generation-00000004" in said[0]
        resumed.run()
        assert log.what_must_agree == train(made, generations=6).what_must_agree[2:]

    def test_a_member_that_fails_leaves_the_state_before_its_generation(self, directory: RunDirectory) -> None:
        """So that it can be replayed alone; and the run goes on once the cause is gone."""
        bad = int(draw(3, 4, Stream.EPISODES, 8)[5])
        made = drift(env_kwargs={"raises_at": episode_seed(bad, 0)})
        log = Log()
        failing = trainer(made, generations=9, monitors=[log], archive=archive(directory, made))
        with pytest.raises(EvaluationError, match=r"Pair 5, sign \+, of generation 5 .*seed that it cannot bear"):
            failing.run()
        assert log.column("generation") == [1, 2, 3, 4] and log.closed == 1
        replayed = trainer(made, archive=archive(directory, made))
        assert replayed.restore() and replayed.generation == 4
        with pytest.raises(EvaluationError, match="seed that it cannot bear"):
            replayed.replay(5, 1)
        assert replayed.replay(4, 1).fitness_N2.shape == (1, 1)

        mended = drift()
        again = trainer(mended, generations=9, monitors=[log], archive=archive(directory, mended))
        assert again.restore()
        again.run()
        assert log.what_must_agree == train(mended, generations=9).what_must_agree

    def test_the_best_and_the_last_policy_are_kept(self, directory: RunDirectory) -> None:
        made = drift()
        strategy, log, pool = made.strategy(population_size=16), Log(), Recording(SerialPool(made.experiment))
        trainer(made, pool, strategy=strategy, generations=6, monitors=[log], archive=archive(directory, made)).run()
        best = int(np.argmax(log.column("eval/mean")))
        saved = load_policy(directory.path, "best")
        assert saved.eval_mean == max(log.column("eval/mean"))
        assert centre_of(made, saved.module_state).tobytes() == pool.seen[best][0].centre_P.tobytes()
        last = load_policy(directory.path, "last")
        assert last.generation == 6 and last.eval_mean is None
        assert centre_of(made, last.module_state).tobytes() == strategy.centre_P.tobytes()
        assert last.normalization is not None and (saved.normalization is None) == (best == 0)


def centre_of(made: Parts, module_state: Mapping[str, Any]) -> NDArray[np.float32]:
    made.policy.load_state_dict(module_state)
    return Layout(made.policy).flatten(made.policy)


class TestReplay:
    def test_a_member_gets_alone_what_it_got_in_its_generation(self) -> None:
        made = drift()
        pool = Recording(SerialPool(made.experiment, pairs_per_chunk=3))
        one = trainer(made, pool, generations=2)
        one.run()
        next_generation = trainer(made, pool, strategy=made.strategy(population_size=16), generations=1)
        next_generation.run()
        fitness_N2 = pool.seen[0][1].fitness_N2
        fresh = trainer(made, strategy=made.strategy(population_size=16))
        for pair in (0, 3, 7):
            assert fresh.replay(pair, 1).fitness_N2[0, 0] == fitness_N2[pair, 0]
            assert fresh.replay(pair, -1).fitness_N2[0, 0] == fitness_N2[pair, 1]
        np.testing.assert_array_equal(fresh.replay(None, 1).eval_fitness_E, pool.seen[0][1].eval_fitness_E)

    @pytest.mark.parametrize("pair", [8, -1])
    def test_other_pairs_are_refused(self, pair: int) -> None:
        with pytest.raises(ConfigurationError, match=f"a generation has the pairs 0 to 7[,;].* got (pair )?{pair}"):
            trainer(drift()).replay(pair, 1)


class SignalsItself(Log):
    """Sends this process a signal in a generation."""

    def __init__(self, number: signal.Signals, generation: int) -> None:
        super().__init__()
        self.number, self.generation = number, generation

    def record(self, metrics: Metrics, fitness_N2: NDArray[Any]) -> None:
        super().record(metrics, fitness_N2)
        if metrics["generation"] == self.generation:
            os.kill(os.getpid(), self.number)


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ends_with_the_state_saved(self, directory: RunDirectory, number: signal.Signals) -> None:
        made, handler = drift(), signal.getsignal(number)
        log = SignalsItself(number, generation=3)
        slow = archive(directory, made, checkpoint_seconds=1e9)  # so that only the end can have saved it
        result = trainer(made, generations=9, final_episodes=50, monitors=[log], archive=slow).run()
        assert (result.reason, result.generation, result.eval_episodes) == ("interrupted", 3, 0)
        assert log.closed == 1 and signal.getsignal(number) == handler
        found = Checkpoints(directory.checkpoints).load_newest()
        assert found is not None and found[0] == 3

    def test_an_interrupted_generation_leaves_no_trace(self) -> None:
        """Chunks that were done of it are dropped; nothing was told."""
        made = drift()
        pool = SerialPool(made.experiment, pairs_per_chunk=1)
        strategy, calls = made.strategy(population_size=16), iter([False] * 5 + [True])
        before = strategy.state_dict()
        with pytest.raises(Interrupted):
            pool.evaluate(population(strategy), lambda: next(calls))
        assert strategy.state_dict()["generation"] == before["generation"]
        np.testing.assert_array_equal(strategy.centre_P, before["centre_P"])

    def test_in_another_thread_there_are_no_signals(self) -> None:
        """Python delivers them to the main thread alone; a run in another one just runs."""
        import threading

        reasons: list[str] = []
        thread = threading.Thread(target=lambda: reasons.append(trainer(sphere(), generations=2).run().reason))
        thread.start()
        thread.join()
        assert reasons == ["generations"]


class TestFromOutside:
    """A driver in a process of its own, and the signals that a person or a scheduler sends it."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Iterator[Any]:
        started: list[subprocess.Popen[str]] = []

        def start(*flags: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "tests.support.long_run", str(tmp_path / "run"), *flags]
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
            return started[-1]

        yield start
        for process in started:
            process.kill()
            process.communicate()

    def test_a_killed_driver_costs_nothing_but_time(self, start: Any, tmp_path: Path) -> None:
        """Killed twice in its midst, without warning; the parameters of every generation are those of a whole run."""
        metrics = tmp_path / "run" / "metrics.jsonl"
        done = 0
        for _ in range(2):
            process = start()
            done = wait_for(metrics, done + 4)
            process.kill()
            process.wait()
        done = len(metrics.read_bytes().splitlines())
        result = run(tmp_path / "run", generations=done + 3)
        assert (result.reason, result.generation) == ("generations", done + 3)
        assert run(tmp_path / "whole", generations=done + 3).timesteps == result.timesteps
        assert checksums(metrics) == checksums(tmp_path / "whole" / "metrics.jsonl")
        assert [generation for generation, _ in checksums(metrics)] == list(range(1, done + 4))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_one_signal_ends_it_in_good_order(self, start: Any, tmp_path: Path, number: signal.Signals) -> None:
        process, metrics = start(), tmp_path / "run" / "metrics.jsonl"
        wait_for(metrics, 2)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "interrupted\n")
        found = Checkpoints(tmp_path / "run" / "checkpoints").load_newest()
        assert found is not None and found[0] == len(checksums(metrics))

    def test_a_second_signal_ends_it_at_once(self, start: Any) -> None:
        """Though an environment does not return."""
        process = start("--hang")
        assert process.stdout.readline() == "stepping\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def wait_for(metrics: Path, lines: int) -> int:
    """Until a run has recorded so many generations; returns how many there are."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        count = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
        if count >= lines:
            return count
        time.sleep(0.01)
    raise AssertionError(f"after two minutes there are not {lines} lines in {metrics}")


def checksums(metrics: Path) -> list[tuple[int, str]]:
    lines = map(json.loads, metrics.read_text().splitlines())
    return [(line["generation"], line["params/sha256"]) for line in lines]
