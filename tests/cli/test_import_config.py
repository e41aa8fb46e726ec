"""`distes import_config`: small files with the keys of other libraries, which come out as configurations that run."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from distes.api.running.dry_run import plan
from distes.api.translation.import_config import Imported, import_config
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.errors import ConfigurationError
from distes.tasks.gym.environments.making import cannot_make
from tests.support.foreign_configurations import (
    CLIPUP,
    GENETIC,
    HUMANOID,
    NOVELTY,
    ON_GPUS,
    RLLIB_ARS,
    RLLIB_ES,
    RLLIB_OLD,
    ZOO,
)


def imported(tmp_path: Path, content: Any, suffix: str = ".json", **options: Any) -> Imported:
    """Translates a file, and checks that its text is what `--config` reads, and that a dry run understands it."""
    path = tmp_path / f"theirs{suffix}"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    found = import_config(path, **options)
    (tmp_path / "ours.yaml").write_text(found.text)
    assert configure(read_flags(["--config", str(tmp_path / "ours.yaml")])) == found.configuration
    small = {**found.configuration, "noise": {**found.configuration["noise"], "size": 2**22}}
    assert dict(plan(small))["strategy"].startswith(found.configuration["strategy"]["class_path"])
    return found


def arguments(found: Imported, section: str) -> dict[str, Any]:
    return found.configuration[section]["init_args"]


def comment(found: Imported, key: str) -> str:
    """What the text says behind a key of ours."""
    (line,) = (line for line in found.text.splitlines() if line.strip().startswith(f"{key}: "))
    return line.partition("  # ")[2]


def test_openai(tmp_path: Path) -> None:
    found = imported(tmp_path, HUMANOID)
    strategy = arguments(found, "strategy")
    assert found.configuration["strategy"]["class_path"] == "OpenAIES"
    assert (strategy["population_size"], strategy["timesteps_per_generation"]) == (400, 3000)
    assert (strategy["sigma"], strategy["l2_coeff"], strategy["learning_rate"]) == (0.05, 0.01, 0.03)
    assert strategy["optimizer_args"] == {"momentum": 0.8, "dampening": 0.8}
    assert found.configuration["eval_episodes"] == 4 and found.configuration["keep_checkpoints_every"] == 7
    assert arguments(found, "policy")["hidden_sizes"] == [24, 12] and arguments(found, "policy")["activation"] == "elu"
    task = arguments(found, "task")
    assert task["env"] == "Pendulum-v1" and "no longer exists" in comment(found, "env")
    assert (task["action_bins"], task["action_noise"], task["episode_cap"]) == ("uniform:5", 0.1, "adaptive:50,0.5,1.5")
    assert task["normalize_observations"] and task["observation_fraction"] == 0.2
    assert comment(found, "sigma") == "config.noise_stdev: 0.05"
    assert "Means nothing here: exp_prefix" in found.text


def test_a_genetic_algorithm_and_novelty_of_uber(tmp_path: Path) -> None:
    found = imported(tmp_path, GENETIC, source="uber")
    assert found.configuration["strategy"]["class_path"] == "DeepGA"
    strategy = arguments(found, "strategy")
    assert (strategy["population_size"], strategy["parents"], strategy["candidates"]) == (60, 6, 1)
    assert arguments(found, "task")["max_steps"] == 90
    with pytest.raises(ConfigurationError, match=r"'num_elites' \(2\): DeepGA keeps one elite"):
        imported(tmp_path, {**GENETIC, "num_elites": 2})


@pytest.mark.slow  # plays for the reference batch
def test_atari_and_novelty_of_uber(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    found = imported(tmp_path, NOVELTY)
    assert found.configuration["strategy"]["class_path"] == "NSRES"
    strategy = arguments(found, "strategy")
    assert (strategy["neighbours"], strategy["agents"], strategy["rollouts"]) == (4, 2, 1)
    assert strategy["selection"] == "round_robin"
    task = arguments(found, "task")
    assert task["env"] == "ale_py:FreewayNoFrameskip-v4" and task["behaviour"] == "info:ram"
    assert arguments(found, "policy")["normalization"] == "virtual_batch"


@pytest.mark.parametrize(
    ("changes", "strategy"),
    [
        ({}, "OpenAIES"),
        ({"optimizer": None, "selection_threshold": 3}, "DeepGA"),
        ({"optimizer": None}, "RandomSearch"),
    ],
)
def test_uber_on_gpus(tmp_path: Path, changes: dict[str, Any], strategy: str) -> None:
    given = {key: value for key, value in {**ON_GPUS, **changes}.items() if value is not None}
    if "optimizer" not in given:
        del given["l2coeff"], given["return_proc_mode"]
        given["validation_threshold"] = 2
    found = imported(tmp_path, given)
    assert found.configuration["strategy"]["class_path"] == strategy
    assert arguments(found, "policy")["hidden_sizes"] == [16, 16]
    assert found.configuration["total_timesteps"] == 5000 and found.configuration["generations"] is None
    assert found.configuration["final_episodes"] == 8
    assert arguments(found, "strategy").get("sigma") == (None if strategy == "RandomSearch" else 0.04)


def test_rllib(tmp_path: Path) -> None:
    found = imported(tmp_path, RLLIB_ES, ".yaml")
    strategy = arguments(found, "strategy")
    assert (strategy["population_size"], strategy["sigma"], strategy["timesteps_per_generation"]) == (40, 0.02, 10_000)
    assert comment(found, "sigma") == "RLlib's default of noise_stdev: 0.02"
    assert (found.configuration["target_fitness"], found.configuration["total_timesteps"]) == (150, 40_000)
    assert found.configuration["seed"] == 3 and found.configuration["generations"] is None
    assert arguments(found, "policy")["hidden_sizes"] == [8]
    ars = imported(tmp_path, RLLIB_ARS, ".yaml")
    assert (arguments(ars, "strategy")["population_size"], arguments(ars, "strategy")["top_directions"]) == (20, 5)
    assert arguments(ars, "task")["reward_shift"] == 1 and not arguments(ars, "task")["normalize_observations"]
    assert ars.configuration["policy"]["class_path"] == "Linear" and ars.configuration["eval_episodes"] == 10


def test_rllib_of_its_first_years(tmp_path: Path) -> None:
    found = imported(tmp_path, RLLIB_OLD, ".yaml")
    assert arguments(found, "strategy")["learning_rate"] == 0.05
    assert comment(found, "learning_rate") == "stepsize: 0.05"
    assert arguments(found, "policy")["hidden_sizes"] == [4, 4]
    assert found.configuration["max_seconds"] == 60
    assert "resources.cpu" in found.text


def test_the_zoo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = imported(tmp_path, ZOO, ".yml", name="Pendulum-v0")
    strategy, task, policy = (arguments(found, section) for section in ("strategy", "task", "policy"))
    assert (strategy["population_size"], strategy["top_directions"], strategy["sigma"]) == (10, 5, 0.1)
    assert task["reward_shift"] == 0.5 and task["normalize_rewards"] and task["reward_gamma"] == 0.9
    assert (policy["hidden_sizes"], policy["activation"], policy["init"]) == ([6], "tanh", "torch")
    assert task["env"] == "Pendulum-v1" and found.configuration["total_timesteps"] == 2_000_000
    linear = imported(tmp_path, ZOO, ".yml", name="CartPole-v1")
    assert linear.configuration["policy"] == {
        "class_path": "Linear",
        "init_args": {"bias": False, "initial_scale": 0.0},
    }
    other = imported(tmp_path, ZOO, ".yml", name="Acrobot-v1")  # as the zoo does for what it does not name
    assert arguments(other, "strategy")["population_size"] == 4
    assert main(["import_config", str(tmp_path / "theirs.yml")]) == 2
    assert "3 entries: choose one with --name: Pendulum-v0, CartPole-v1, Nowhere-v0" in capsys.readouterr().err


def test_evotorch(tmp_path: Path) -> None:
    found = imported(tmp_path, CLIPUP, ".py")
    strategy, task, policy = (arguments(found, section) for section in ("strategy", "task", "policy"))
    assert found.configuration["strategy"]["class_path"] == "PGPE"
    assert strategy["radius"] == pytest.approx(1.5) and strategy["learning_rate"] == pytest.approx(0.075)
    assert strategy["optimizer_args"] == {"max_speed": 0.1} and strategy["population_size"] == 20
    assert (strategy["timesteps_per_generation"], strategy["max_population"]) == (3000, 80)
    assert (policy["hidden_sizes"], policy["activation"], policy["init"]) == ([5], "tanh", "zero")
    assert task["reward_shift"] == 0.5 and task["env_kwargs"] == {"g": 9.0} and found.configuration["generations"] == 12
    mapping = {"VecGymNE": {"env": "CartPole-v1", "network": "Linear(obs_length, act_length, bias=False)"}}
    found = imported(tmp_path, yaml.safe_dump({**mapping, "SNES": {"stdev_init": 0.3, "popsize": 9}}), ".yaml")
    assert found.configuration["strategy"]["class_path"] == "SNES" and not arguments(found, "policy")["bias"]
    assert arguments(found, "strategy")["population_size"] == 10
    found = imported(tmp_path, {**mapping, "CMAES": {"stdev_init": 0.3, "separable": True}})
    assert found.configuration["strategy"]["class_path"] == "SepCMAES"


def test_a_python_file_is_not_run(tmp_path: Path) -> None:
    ran = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    imported(tmp_path, ran + CLIPUP, ".py")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "suffix", "message"),
    [
        ({**HUMANOID, "gravity": 3}, ".json", r"'gravity' \(3\): distes does not know this key"),
        ({**HUMANOID, "algo_type": "cma"}, ".json", r"'algo_type' \(\"cma\"\): it is one of es, ga, ns, nsr"),
        ({**HUMANOID, "optimizer": {"type": "lamb"}}, ".json", r"'optimizer.type' .*: it is adam or sgd"),
        (
            {**HUMANOID, "policy": {"type": "Mine", "args": {}}},
            ".json",
            r"'policy.type' \(\"Mine\"\): it is MujocoPolicy",
        ),
        ({**ON_GPUS, "mutation_power": {"type": "linear"}}, ".json", "schedules over steps have no counterpart"),
        ({**ON_GPUS, "model": "ModelX"}, ".json", r"'model' \(\"ModelX\"\): distes has Model, "),
        (RLLIB_ES.replace("run: ES", "run: PPO"), ".yaml", r"'run' \(\"PPO\"\): distes has their ES and ARS"),
        (
            RLLIB_ES.replace("seed: 3", "seed: {grid_search: [1, 2]}"),
            ".yaml",
            "'seed.grid_search'.* as distes sweep does",
        ),
        (RLLIB_ES.replace("seed: 3", "gamma: 0.9"), ".yaml", r"'gamma' \(0.9\): distes does not know this key"),
        (
            CLIPUP.replace('"Linear', "Mine or 'Linear").replace('h)"', "h)'"),
            ".py",
            "'network' .*: it is code, which is not",
        ),
        (CLIPUP.replace("PGPE(", "XNES("), ".py", "'XNES' .*: distes has GymNE, VecGymNE, PGPE, SNES, CMAES"),
        (
            CLIPUP.replace("symmetric=True", "symmetric=False"),
            ".py",
            r"'symmetric' \(false\): distes has no key for it",
        ),
        (CLIPUP.replace("GymNE(", "print("), ".py", "one problem is needed, GymNE or VecGymNE; there is none"),
        (CLIPUP.replace("Pendulum-v1", "brax::ant"), ".py", "environments of brax have no counterpart"),
        (CLIPUP.replace(">> Tanh()", ">> Tanh() >> LSTM(5, 5)"), ".py", "'network' .*: it is Linear"),
        (
            RLLIB_OLD.replace("num_deltas: 8,", "num_deltas: 3, num_rollouts: 4,"),
            ".yaml",
            r"'num_deltas' \(3\): it is an old name of num_rollouts, which stands there, too",
        ),
        (
            CLIPUP.replace("(obs_length, 5) >> Tanh() >> Linear(5, act_length)", "(obs_length, act_length, bias=1)"),
            ".py",
            "'network' .*: it is Linear",
        ),
        ({"a": 1}, ".json", "looks like none of the configurations that are understood"),
        ("{", ".json", "malformed JSON"),
        ("x = (", ".py", "it is not Python"),
        (
            HUMANOID | {"env_id": "Nowhere-v7"},
            ".json",
            "translated into what cannot be run: task.env: Gymnasium knows no",
        ),
        (
            HUMANOID | {"env_id": "some_module:Nowhere-v7"},
            ".json",
            "no part of distes and would be run. Repeat this with --trust",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path: Path, content: Any, suffix: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        imported(tmp_path, content, suffix)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, ours = tmp_path / "theirs.yaml", tmp_path / "ours.yaml"
    theirs.write_text(RLLIB_ES)
    assert main(["import_config", str(theirs)]) == 0
    printed = capsys.readouterr().out
    assert main(["import_config", str(theirs), "-o", str(ours)]) == 0
    assert "episodes_per_batch: 40  ->  strategy.population_size: 40" in capsys.readouterr().out
    assert ours.read_text() == printed
    few = ["--strategy.population_size", "2", "--strategy.timesteps_per_generation", "null", "--noise.size", "10000"]
    flags = [*few, "--generations", "2", "--workers", "0", "--run_dir", str(tmp_path / "run"), "--eval_episodes", "1"]
    assert main(["train", "--config", str(ours), *flags, "--final_episodes", "1"]) == 0
    (tmp_path / "wrong.json").write_text(json.dumps({**HUMANOID, "gravity": 3}))
    capsys.readouterr()
    assert main(["import_config", str(theirs), str(tmp_path / "wrong.json")]) == 2
    out = capsys.readouterr().out
    assert "theirs.yaml small-es: translated" in out and "'gravity' (3)" in out and "1 of 2 are translated" in out
    assert main(["import_config", str(theirs), "--table"]) == 0
    assert main(["import_config", str(tmp_path / "wrong.json")]) == 2
    assert main(["import_config", str(tmp_path / "nothing.json")]) == 2
    assert main(["import_config", str(theirs), str(theirs), "-o", str(ours)]) == 2


@pytest.mark.parametrize("flags", [[], ["--table"]])
def test_a_file_without_a_configuration_is_no_success(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ars.yml").write_text("default: {n_delta: 4}\n")
    assert main(["import_config", str(tmp_path / "ars.yml"), "--from", "zoo", *flags]) == 2
    assert "ars.yml has no configuration of rl-zoo." in "".join(capsys.readouterr())


def test_an_entry_that_is_no_mapping_is_not_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ars.yml").write_text(f"{ZOO}\nAcrobot-v1: 4\n")
    assert main(["import_config", str(tmp_path / "ars.yml"), "--name", "Acrobot-v1"]) == 2
    assert "'Acrobot-v1' (4): it must be a mapping of keys to values" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs.yaml").write_text(RLLIB_ES)
    assert main(["import_config", str(tmp_path / "theirs.yaml"), "-o", str(tmp_path / "nowhere" / "ours.yaml")]) == 2
    assert "ours.yaml cannot be written: No such file or directory." in capsys.readouterr().err


def test_a_missing_package_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(_: object) -> None:
        raise cannot_make("Pendulum-v1", ModuleNotFoundError("No module named 'mujoco'"))

    monkeypatch.setattr("distes.api.translation.import_config.build", build)
    (tmp_path / "theirs.yaml").write_text(RLLIB_ES)
    assert main(["import_config", str(tmp_path / "theirs.yaml")]) == 0
    printed = capsys.readouterr()
    assert "warning: It was not tried. The environment 'Pendulum-v1' needs an extra" in printed.err
    assert "population_size: 40" in printed.out
