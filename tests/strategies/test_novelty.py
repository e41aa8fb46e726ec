"""NS-ES, NSR-ES and NSRA-ES against their slow twins, and what agents, archive and weight must do.

Axes: P parameters, N pairs, 2 the signs (+, -), E episodes of the centre, D numbers of a behaviour, M agents.
"""

import dataclasses
import itertools
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from distes.cli import main
from distes.errors import ConfigurationError, EvaluationError
from distes.noise.draws import Stream, draw, in_proportion
from distes.perturbations.dense import Dense
from distes.perturbations.low_rank import LowRank
from distes.policies.layout import Layout
from distes.policies.mlp import MLP
from distes.pools.on_ray.pool import RayPool
from distes.pools.replica import OutOfStep, PopulationOutline, Replica
from distes.pools.serial import SerialPool
from distes.population import Evaluation, Population
from distes.runs.directory import RunDirectory
from distes.runs.policy_files import load_policy
from distes.strategies.novelty_es import NSES, NSRES
from distes.strategies.novelty_search import NoveltySearch
from distes.strategies.nsra_es import NSRAES
from tests import reference
from tests.support.small import Log, Parts, archive, drift, evaluate, sphere, trainer

KINDS: dict[str, type[NoveltySearch]] = {"NSES": NSES, "NSRES": NSRES, "NSRAES": NSRAES}
# The weight of fitness in each generation, where nothing ever improves on the first.
WEIGHTS = {"NSES": [0.0] * 40, "NSRES": [0.5] * 40, "NSRAES": reference.fitness_weights([0.0] * 40, 1, 0, 0.05, 3)}


@pytest.fixture(scope="module")
def parts() -> Parts:
    return sphere(dimension=10, behaviour=True)


def made(parts: Parts, kind: str = "NSRES", **arguments: Any) -> NoveltySearch:
    given = {"population_size": 12, "rollouts": 3, **({"patience": 3} if kind == "NSRAES" else {}), **arguments}
    return KINDS[kind](parts.centre_P, parts.perturbation, 3, **given)


def answer(asked: Population, fitness: float | None = None, **changes: Any) -> Evaluation:
    """Some evaluation, a function of the generation; the centre's fitness may be given."""
    pairs, episodes = len(asked.ids_N), len(asked.eval_seeds_E)
    random = np.random.default_rng(asked.generation)
    given = {
        "behaviour": random.standard_normal((pairs, 2, 2)),
        "eval_fitness": random.standard_normal(episodes) if fitness is None else np.full(episodes, fitness),
        "eval_behaviour": random.standard_normal((episodes, 2)),
    }
    return Evaluation.of(random.standard_normal((pairs, 2)), **{**given, **changes})


def unchanged(before: Any, after: Any) -> bool:
    """Two states, equal in every bit."""
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(unchanged(value, after[key]) for key, value in before.items())
    if isinstance(before, list):
        return len(before) == len(after) and all(itertools.starmap(unchanged, zip(before, after, strict=True)))
    if isinstance(before, torch.Tensor | np.ndarray):
        return bool((np.asarray(before) == np.asarray(after)).all())
    return bool(before == after)


@pytest.mark.parametrize("decay_towards", ["zero", "initial"])
@pytest.mark.parametrize("selection", ["novelty", "round_robin"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(parts: Parts, kind: str, selection: Any, decay_towards: Any) -> None:
    """40 generations: whose they were, and where the centres went."""
    l2, rate, k = 0.005, 0.05, 4
    strategy = made(
        parts, kind, selection=selection, learning_rate=rate, l2_coeff=l2, neighbours=k, decay_towards=decay_towards
    )
    starts = [centre_P.tolist() for centre_P in strategy.all_centres()]
    table, told, before = parts.noise.numbers.astype(np.float64), [], []
    for number, weight in enumerate(WEIGHTS[kind]):
        asked = strategy.ask()
        evaluation = answer(asked, fitness=0.0)
        assert evaluation.behaviour_N2D is not None and evaluation.eval_behaviour_ED is not None
        drawn = int(draw(3, number, Stream.AGENTS, 1)[0])
        told.append(
            {
                "fitness": evaluation.fitness_N2.tolist(),
                "behaviour": evaluation.behaviour_N2D.tolist(),
                "of_centre": evaluation.eval_behaviour_ED.tolist(),
                "directions": [table[i : i + parts.layout.size].tolist() for i in asked.ids_N],
                "weight": weight,
                "uniform": (drawn >> 11) / 2**53,
            }
        )
        metrics = strategy.tell(evaluation)
        before.append((int(metrics["agent"]), asked.centre_P))
        assert metrics.get("novelty/fitness_weight", weight) == pytest.approx(weight)
    step = partial(reference.adam, rate, l2, anchored=decay_towards == "initial")
    *expected, (_, last) = reference.novelty_search(told, starts, step, k, selection == "round_robin")
    assert [agent for agent, _ in before] == [agent for agent, _ in expected]
    for number, ((_, mine_P), (_, theirs)) in enumerate(zip(before, expected, strict=True)):
        np.testing.assert_allclose(mine_P, theirs, atol=2e-5, err_msg=f"before generation {number}")
    np.testing.assert_allclose(list(strategy.all_centres()), last, atol=2e-5)


@given(
    fitness=st.lists(st.integers(-5, 5).map(float), max_size=30),
    start=st.sampled_from([0.3, 0.5, 1.0]),
    least=st.sampled_from([0.0, 0.2]),
    patience=st.integers(1, 4),
)
def test_the_weight_follows_the_rule(
    parts: Parts, fitness: list[float], start: float, least: float, patience: int
) -> None:
    strategy = made(
        parts, "NSRAES", fitness_weight=start, least_weight=least, weight_step=0.15, patience=patience, agents=2
    )
    weights = [strategy.tell(answer(strategy.ask(), one))["novelty/fitness_weight"] for one in fitness]
    assert weights == pytest.approx(reference.fitness_weights(fitness, start, least, 0.15, patience))


def test_one_agent_that_looks_for_fitness_alone_is_openai_es(parts: Parts) -> None:
    """To the last bit, over several rounds, too."""
    arguments: dict[str, Any] = {"population_size": 12, "learning_rate": 0.05, "l2_coeff": 0.01}
    arguments["timesteps_per_generation"] = 30
    one = made(parts, "NSRAES", agents=1, patience=1000, **arguments)
    other, pool = parts.strategy(**arguments), SerialPool(parts.experiment)
    for _ in range(5):
        evaluation = evaluate(pool, one.ask())
        while (further := one.more(evaluation)) is not None:
            evaluation = evaluation.and_then(evaluate(pool, further))
        assert len(evaluation.fitness_N2) == 18 and len(evaluation.eval_fitness_E) == 3
        one.tell(evaluation)
        other.tell(evaluation)
        assert one.centre_P.tobytes() == other.centre_P.tobytes() != parts.centre_P.tobytes()


def test_only_who_looks_for_fitness_hears_of_it(parts: Parts) -> None:
    for kind, heard in (("NSES", False), ("NSRES", True), ("NSRAES", True)):
        ends = set()
        for sign in (1, -1):
            strategy = made(parts, kind)
            evaluation = answer(strategy.ask())
            strategy.tell(dataclasses.replace(evaluation, fitness_N2=sign * evaluation.fitness_N2))
            ends.add(strategy.centre_P.tobytes())
        assert len(ends) == 1 + heard


def test_goes_where_it_has_not_been(parts: Parts) -> None:
    """Straight on, and not to and fro as whoever is told of random behaviours."""
    went = []
    for true in (True, False):
        strategy, pool = made(parts, "NSES", agents=1, learning_rate=0.2), SerialPool(parts.experiment)
        for generation in range(40):
            evaluation = evaluate(pool, strategy.ask())
            random_N2D = np.random.default_rng(generation).standard_normal((6, 2, 10)).astype(np.float32)
            metrics = strategy.tell(evaluation if true else dataclasses.replace(evaluation, behaviour_N2D=random_N2D))
        assert len(strategy.state_dict()["archive"]["behaviour_AD"]) == metrics["archive/size"] == 40
        went.append(float(np.linalg.norm(strategy.centre_P - parts.centre_P)))
    assert went[0] > 2 * went[1]


@given(weights=st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5), drawn=st.integers(0, 2**64 - 1))
def test_chances_are_in_proportion(weights: list[float], drawn: int) -> None:
    chosen = in_proportion(np.array(weights), drawn)
    if sum(weights) == 0:
        assert chosen == drawn % len(weights)
    else:
        below, upto = sum(weights[:chosen]), sum(weights[: chosen + 1])
        assert below <= (drawn >> 11) / 2**53 * sum(weights) < upto  # so it has a chance at all


def test_whoever_did_something_new_is_asked_more_often(parts: Parts) -> None:
    asked = []
    strategy = made(parts, agents=2, rollouts=1)
    for generation in range(60):
        population = strategy.ask()
        centres = [centre_P.tobytes() for centre_P in strategy.all_centres()]
        agent = centres.index(population.centre_P.tobytes())
        # The first agent does the same time and again, the other one something else far away.
        did = [[0.0, 0.0]] if agent == 0 else [[100.0 + 10 * generation, 0.0]]
        asked.append(agent)
        strategy.tell(answer(population, eval_behaviour=did))
    assert asked[:2] == [0, 1]
    assert sum(asked) >= 35


def test_every_agent_has_its_turn_first_and_then_in_order_where_that_is_wanted(parts: Parts) -> None:
    for selection in ("novelty", "round_robin"):
        strategy = made(parts, agents=4, selection=selection)
        agents = [int(strategy.tell(answer(strategy.ask()))["agent"]) for _ in range(12)]
        assert agents[:4] == [0, 1, 2, 3]
        assert (agents == [0, 1, 2, 3] * 3) == (selection == "round_robin")


class TestInitialCentres:
    def of(self, seed: int, agents: int, kind: Any = Dense) -> NDArray[np.float32]:
        torch.manual_seed(0)
        policy = MLP(40, 3, hidden_sizes=[50])
        torch.nn.init.ones_(policy.hidden[0].bias)
        layout, noise = Layout(policy), sphere().noise
        strategy = NSES(layout.flatten(policy), kind(noise, layout), seed, agents=agents)
        self.slots = {slot.name: slot.span for slot in layout.slots}
        self.initial_P = layout.flatten(policy)
        return np.stack(list(strategy.all_centres()))

    def test_the_first_is_the_policy_s_own_and_others_are_like_it(self) -> None:
        centres_MP = self.of(seed=1, agents=3)
        assert centres_MP[0].tobytes() == self.initial_P.tobytes()
        for other_P in centres_MP[1:]:
            for name, span in self.slots.items():
                own, fresh = self.initial_P[span], other_P[span]
                if name == "hidden.0.bias":
                    assert fresh.tolist() == [1.0] * 50
                elif own.size > 100:
                    assert fresh.std() == pytest.approx(own.std(), rel=0.2) and abs(fresh.mean()) < own.std() / 3
                    assert abs(np.corrcoef(own, fresh)[0, 1]) < 0.3
                else:
                    assert not np.array_equal(own, fresh)
        assert len({centre_P.tobytes() for centre_P in centres_MP}) == 3

    def test_are_functions_of_the_seed_and_their_number(self) -> None:
        few, many, other = self.of(1, 2), self.of(1, 5), self.of(2, 2)
        assert few.tobytes() == many[:2].tobytes()
        assert few[1].tobytes() != other[1].tobytes()

    def test_do_not_depend_on_the_noise_s_form(self) -> None:
        assert self.of(1, 3).tobytes() == self.of(1, 3, LowRank).tobytes()


class TestWhatItShows:
    def test_is_the_agent_whose_centre_was_best_when_it_was_last_asked(self, parts: Parts) -> None:
        strategy = made(parts, selection="round_robin", learning_rate=0.01)
        assert strategy.centre_P.tobytes() == parts.centre_P.tobytes()  # nobody has been asked yet
        best = []
        for fitness in (1.0, 5.0, float("nan"), 2.0, 1.0):
            strategy.tell(answer(strategy.ask(), fitness))
            best.append([c.tobytes() for c in strategy.all_centres()].index(strategy.centre_P.tobytes()))
        assert best == [0, 1, 1, 1, 0]

    def test_is_evaluated_at_the_end_and_the_asked_agent_in_passing(self, parts: Parts) -> None:
        strategy, log, asked = made(parts), Log(), list[float]()

        def fitness(centre_P: NDArray[np.float32]) -> float:
            return -float(np.square(centre_P, dtype=np.float64).sum())

        ask = strategy.ask

        def noted() -> Population:
            population = ask()
            asked.append(fitness(population.centre_P))
            return population

        strategy.ask = noted  # type: ignore[method-assign]
        result = trainer(
            parts, strategy=strategy, generations=7, eval_episodes=5, final_episodes=4, monitors=[log]
        ).run()
        assert log.column("eval/mean") == pytest.approx(asked[:7]) and log.column("eval/episodes") == [5] * 7
        assert result.eval_mean == pytest.approx(fitness(strategy.centre_P)) and result.eval_episodes == 4

    def test_the_best_policy_is_that_of_the_best_evaluation(self, parts: Parts, tmp_path: Any) -> None:
        strategy, log = made(parts, "NSES", learning_rate=0.3), Log()
        with RunDirectory.create(tmp_path / "run", "") as directory:
            kept = archive(directory, parts)
            trainer(parts, strategy=strategy, generations=8, monitors=[log], archive=kept).run()
        best, last = load_policy(tmp_path / "run", "best"), load_policy(tmp_path / "run", "last")
        evaluated = log.column("eval/mean")
        assert best.eval_mean == max(evaluated) and best.generation == int(np.argmax(evaluated))
        point = best.module_state["layer.weight"].double().square().sum()
        assert -float(point) == pytest.approx(max(evaluated))
        shown_P = last.module_state["layer.weight"].flatten().numpy()
        assert shown_P.tobytes() == strategy.centre_P.tobytes()

    def test_the_digest_is_that_of_all_centres(self, parts: Parts) -> None:
        """So that a difference in any of them shows at once, and it changes with every generation."""
        log = Log()
        trainer(parts, strategy=made(parts), generations=8, monitors=[log]).run()
        assert len(set(log.column("params/sha256"))) == 8

    def test_a_worker_that_follows_can_make_it(self, parts: Parts) -> None:
        """In the final evaluation, whose centre is not the one that would be asked about next."""
        strategy = made(parts, selection="round_robin", learning_rate=0.01)
        for fitness in (1.0, 5.0, 2.0):
            strategy.tell(answer(strategy.ask(), fitness))
        shown = dataclasses.replace(strategy.ask(), centre_P=strategy.centre_P)
        assert shown.centre_P.tobytes() != strategy.ask().centre_P.tobytes()
        assert Replica(strategy, parts.perturbation).complete(PopulationOutline.of(shown)).centre_P.tobytes() == (
            shown.centre_P.tobytes()
        )
        with pytest.raises(OutOfStep):
            Replica(strategy, parts.perturbation).complete(
                PopulationOutline.of(dataclasses.replace(shown, centre_P=shown.centre_P + 1))
            )


@pytest.mark.slow
def test_is_the_same_on_ray_where_workers_follow_and_after_a_resume(tmp_path: Any) -> None:
    """With observations normalised, several rounds, and final episodes of a centre that is not asked next."""
    of = drift(behaviour="final_observation", env_kwargs={"seconds": 0.0003})
    arguments: dict[str, Any] = {"timesteps_per_generation": 300, "learning_rate": 0.05}
    final: dict[str, Any] = {"final_episodes": 6, "eval_episodes": 4}
    serial, on_ray, resumed = Log(), Log(), Log()
    expected = trainer(of, strategy=made(of, "NSRAES", **arguments), generations=6, monitors=[serial], **final).run()
    strategy = made(of, "NSRAES", **arguments)
    experiment = dataclasses.replace(of.experiment, strategy=strategy)
    pool = RayPool(experiment, workers=2, oversubscribe=True, pairs_per_chunk=3, sync="replay")
    try:
        got = trainer(of, pool, strategy=strategy, generations=6, monitors=[on_ray], **final).run()
    finally:
        pool.close()
    path = tmp_path / "run"
    for generations in (3, 6):
        with RunDirectory.create(path, "") if generations == 3 else RunDirectory.open(path) as directory:
            again = trainer(
                of,
                strategy=made(of, "NSRAES", **arguments),
                generations=generations,
                monitors=[resumed],
                archive=archive(directory, of),
                **final,
            )
            assert again.restore() == (generations == 6)
            last = again.run()
    assert serial.what_must_agree == on_ray.what_must_agree == resumed.what_must_agree
    assert expected.eval_mean == got.eval_mean == last.eval_mean


class TestMistakes:
    @pytest.mark.parametrize(
        ("changes", "got"),
        [
            ({"behaviour": None}, "no behaviour of members, and 3 such episodes"),
            ({"eval_behaviour": None}, "the behaviour of members, and 0 such episodes"),
            ({"eval_fitness": [1.0], "eval_behaviour": [[1.0, 1.0]]}, "the behaviour of members, and 1 such episodes"),
        ],
    )
    def test_what_has_no_behaviours_is_refused(self, parts: Parts, changes: Any, got: str) -> None:
        strategy = made(parts)
        message = f"NSRES compares what members do: tell it an Evaluation with their behaviour, .* 3 episodes .*{got}"
        with pytest.raises(EvaluationError, match=message):
            strategy.tell(answer(strategy.ask(), **changes))
        with pytest.raises(EvaluationError, match="no behaviour of members, and 0 such episodes"):
            strategy.tell(np.zeros(12))

    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_has_changed_where_a_step_cannot_be_made(self, parts: Parts, kind: str) -> None:
        """So that what is saved then can be resumed."""
        rate = {"schedule": "linear", "start": 0.1, "end": 1e30, "generations": 1}
        strategy = made(parts, kind, optimizer="SGD", learning_rate=rate, l2_coeff=1e20)
        strategy.tell(answer(strategy.ask()))
        before, behaviour_BD = strategy.state_dict(), np.zeros((12, 2))
        behaviour_BD[3] = np.nan
        evaluation = answer(strategy.ask(), behaviour=behaviour_BD)
        with pytest.raises(EvaluationError, match="Behaviour 3 has the component nan"):
            strategy.tell(evaluation)
        with pytest.raises(ConfigurationError, match="no longer finite after generation 2"):
            strategy.tell(answer(strategy.ask(), fitness=99.0))
        assert unchanged(before, strategy.state_dict())

    def test_a_state_of_another_number_of_agents_is_refused(self, parts: Parts) -> None:
        with pytest.raises(ConfigurationError, match="stored state has 3 agents, this strategy 4"):
            made(parts, agents=4).load_state_dict(made(parts).state_dict())

    @pytest.mark.parametrize(
        ("kind", "arguments", "message"),
        [
            ("NSES", {"agents": 0}, r"^agents must be at least 1; got 0"),
            ("NSES", {"rollouts": 0}, r"^rollouts must be at least 1; got 0"),
            ("NSES", {"neighbours": 0}, r"^neighbours must be at least 1; got 0"),
            ("NSES", {"selection": "random"}, r"selection must be one of novelty, round_robin; got 'random'"),
            ("NSES", {"population_size": 7}, r"population_size must be even"),
            ("NSES", {"l2_coeff": -1.0}, r"l2_coeff must be a finite number at least 0"),
            (
                "NSRAES",
                {"fitness_weight": 1.1},
                r"fitness_weight must be from least_weight to 1.*got fitness_weight 1.1",
            ),
            ("NSRAES", {"least_weight": -0.1}, r"least_weight at least 0; got .* least_weight -0.1"),
            ("NSRAES", {"weight_step": -0.1}, r"weight_step must be a finite number at least 0"),
            ("NSRAES", {"patience": 0}, r"patience must be at least 1; got 0"),
        ],
    )
    def test_bad_arguments_are_sentences(self, parts: Parts, kind: str, arguments: Any, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            made(parts, kind, **arguments)

    def test_a_task_that_describes_nothing_is_refused_before_anything_starts(
        self, tmp_path: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = ["--strategy", "NSRAES", "--workers", "0", "--run_dir", str(tmp_path / "run"), "--noise.size", "10000"]
        assert main(flags) == 2
        assert "NSRAES compares what members do, which the task" in capsys.readouterr().err
        assert main([*flags[:-4], "--strategy.patience", "0", "--task.behaviour", "final_observation"]) == 2
        assert "strategy.patience must be at least 1; got 0" in capsys.readouterr().err
