"""From YAML and flags to a resolved configuration and to objects; and a sentence for whatever is wrong with them."""

import contextlib
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import distes
from distes.api.building.build import build
from distes.api.building.policy import build_policy
from distes.api.building.pool import decide_device, sum_on
from distes.api.configuration import yaml_text
from distes.api.configuration.keys import CLASSES, chosen_class
from distes.api.configuration.layers import DEFAULTS, read_file
from distes.api.configuration.resolution import flat, resolve
from distes.cli import main
from distes.cli.flags import configure, read_flags
from distes.cli.help import format_help
from distes.errors import ConfigurationError, DistesWarning

FUNCTION = ["--task", "Function", "--policy", "Linear"]
HERE = __name__


class Net(torch.nn.Module):
    """A policy of one's own."""

    def __init__(self, observation_size: int, action_size: int, width: int, *, inner: torch.nn.Module | None = None):
        super().__init__()
        if width == 13:
            raise RuntimeError("unlucky")
        self.width, self.inner = width, inner
        self.layer = torch.nn.Linear(observation_size, action_size if width > 0 else 99)

    def forward(self, x):
        return self.layer(x)


class Untyped(torch.nn.Module):
    def __init__(self, action_size, colour, shade=3, **more):
        super().__init__()
        self.colour, self.shade = colour, shade
        self.bias = torch.nn.Parameter(torch.zeros(action_size))

    def forward(self, x):
        return self.bias.expand(len(x), -1)


def parse(*argv: str) -> dict[str, Any]:
    return configure(read_flags(argv))


def yaml_file(folder: Path, text: str) -> str:
    path = folder / "conf.yaml"
    path.write_text(text)
    return str(path)


def test_keys_that_take_a_list_take_several_words_or_one() -> None:
    given = parse(
        "--policy.hidden_sizes", "64", "32", "--monitors", "csv", "--task.log_info", "a", "b:mean", "--seed", "3"
    )
    assert given["policy"]["init_args"]["hidden_sizes"] == [64, 32] and given["monitors"] == ["csv"]
    assert given["task"]["init_args"]["log_info"] == ["a", "b:mean"] and given["seed"] == 3


def fails(*argv: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        build(parse(*argv))
    return str(caught.value)


# What is chosen


def test_no_argument_at_all_is_the_default_configuration():
    values = flat(parse())
    assert values["task"] == "Gym"
    assert values["task.env"] == "CartPole-v1"
    assert values["policy"] == "MLP"
    assert values["strategy"] == "OpenAIES"
    assert values["perturbation"] == "Dense"
    assert values["noise.dtype"] == "float32"
    assert values["seed"] == 0


def test_every_short_name_leads_to_a_class_of_that_name():
    for section, names in CLASSES.items():
        for name in names:
            assert chosen_class(section, name).__name__ == name


def test_linear_is_ours_and_not_torchs():
    configuration = parse(*FUNCTION)
    assert chosen_class("policy", configuration["policy"]["class_path"]) is distes.Linear
    assert configuration["policy"]["init_args"].keys() == {"bias", "initial_scale"}


def test_a_class_in_yaml_by_name_or_with_arguments_or_arguments_alone(tmp_path):
    short = yaml_file(tmp_path, "strategy: OpenAIES")
    assert parse("--config", short) == parse()
    long = yaml_file(tmp_path, "strategy: {class_path: OpenAIES, init_args: {sigma: 2e-2}}")
    assert flat(parse("--config", long))["strategy.sigma"] == 0.02
    alone = yaml_file(tmp_path, "strategy: {init_args: {sigma: 2e-2}}")
    assert parse("--config", alone) == parse("--config", long)


def test_flags_override_files_wherever_they_stand(tmp_path):
    path = yaml_file(tmp_path, "seed: 1\nstrategy: {init_args: {sigma: 0.5}}\nnoise: {seed: 7}")
    expected = {"seed": 2, "strategy.sigma": 0.25, "noise.seed": 7}
    for argv in (
        ["--seed", "2", "--strategy.sigma=0.25", "--config", path],
        ["--config", path, "--strategy.sigma", "0.25", "--seed=2"],
    ):
        assert flat(parse(*argv)).items() >= expected.items()


def test_a_later_file_overrides_an_earlier_one(tmp_path):
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("seed: 1\nworkers: 1")
    second.write_text("seed: 2")
    values = flat(parse("--config", str(first), "--config", str(second)))
    assert (values["seed"], values["workers"]) == (2, 1)


def test_another_class_drops_all_arguments_of_the_one_it_replaces(tmp_path, capfd):
    path = yaml_file(tmp_path, "policy: {class_path: MLP, init_args: {output_scale: 0.7, hidden_sizes: [5]}}")
    values = flat(parse("--config", path, "--policy", "Recurrent", "--policy.hidden_size", "8"))
    assert values["policy.output_scale"] == 0.1  # its own default, not the 0.7 meant for the MLP
    assert values["policy.hidden_size"] == 8
    assert "policy.hidden_sizes" not in values
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["MLP", "distes.policies.mlp.MLP"])
def test_the_same_class_again_keeps_its_arguments(tmp_path, name):
    path = yaml_file(tmp_path, "policy: {class_path: MLP, init_args: {output_scale: 0.7}}")
    assert flat(parse("--config", path, "--policy", name))["policy.output_scale"] == 0.7


def test_the_same_class_by_another_path_keeps_its_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[HERE], "Alias", Net, raising=False)
    path = yaml_file(tmp_path, f"policy: {{class_path: {HERE}.Net, init_args: {{width: 4}}}}")
    assert flat(parse("--config", path, "--policy", f"{HERE}.Alias"))["policy.width"] == 4


def test_arguments_of_a_class_may_stand_before_it():
    assert flat(parse("--task.name", "ackley", "--task", "Function"))["task.name"] == "ackley"


def test_spellings_of_jsonargparse():
    values = flat(parse("--task.class_path", "Function", "--task.init_args.dimension", "3"))
    assert (values["task"], values["task.dimension"]) == ("Function", 3)
    assert flat(parse("--task", "{class_path: Function, init_args: {dimension: 3}}")) == values


# Values


def test_flags_get_their_type_from_the_constructor():
    values = flat(
        parse(
            *("--run_dir", "7", "--seed", "7", "--total_timesteps", "1e6", "--oversubscribe", "true", "--debug"),
            *("--policy.hidden_sizes", "[64, 64]", "--strategy.sigma", "1e-3", "--target_fitness", "-1.5e1"),
        )
    )
    assert values["run_dir"] == "7"
    assert values["seed"] == 7
    assert values["total_timesteps"] == 1_000_000
    assert type(values["total_timesteps"]) is int
    assert values["oversubscribe"] is True
    assert values["debug"] is True
    assert values["policy.hidden_sizes"] == [64, 64]
    assert values["strategy.sigma"] == 0.001
    assert values["target_fitness"] == -15.0


def test_flags_reach_into_mappings(tmp_path):
    path = yaml_file(tmp_path, "task: {init_args: {env_kwargs: {gravity: 9.8, goal: '5'}}}")
    argv = ["--config", path, "--task.env_kwargs.gravity", "1e1", "--task.env_kwargs.deep.er", "[a]"]
    assert flat(parse(*argv))["task.env_kwargs"] == {"gravity": 10.0, "goal": "5", "deep": {"er": ["a"]}}
    assert flat(parse("--task.env_kwargs", "{a: 1}", "--task.env_kwargs.b=2"))["task.env_kwargs"] == {"a": 1, "b": 2}


def test_a_policy_of_ones_own():
    _, policy = build(parse("--task", "Function", "--policy", f"{HERE}.Net", "--policy.width", "8"))
    assert isinstance(policy, Net)
    assert policy.width == 8


def test_a_policy_may_take_another_module():
    argv = ["--policy.inner", "torch.nn.Linear", "--policy.inner.init_args.in_features", "2"]
    argv = ["--policy.inner", "{class_path: torch.nn.Linear, init_args: {in_features: 2, out_features: 3}}"]
    configuration = parse("--task", "Function", "--policy", f"{HERE}.Net", "--policy.width", "8", *argv)
    assert configuration["policy"]["init_args"]["inner"]["class_path"] == "torch.nn.Linear"
    inner = build(configuration)[1].inner
    assert isinstance(inner, torch.nn.Linear)
    assert (inner.in_features, inner.out_features) == (2, 3)


def test_a_policy_without_types():
    argv = ["--task", "Function", "--policy", f"{HERE}.Untyped"]
    with pytest.warns(DistesWarning, match="Untyped runs through torch.func.vmap"):
        policy = build(parse(*argv, "--policy.colour", "red"))[1]
    assert (policy.colour, policy.shade) == ("red", 3)
    assert re.search(r"^policy.colour is missing: .*Untyped needs it", fails(*argv))


def test_the_initial_policy_is_a_function_of_the_seed_alone():
    part = parse()["policy"]
    torch.manual_seed(5)
    one = build_policy(part, (4,), 2, seed=1)
    before = torch.rand(1)
    torch.manual_seed(5)
    other = build_policy(part, (4,), 2, seed=1)
    assert torch.equal(torch.rand(1), before)
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    third = build_policy(part, (4,), 2, seed=2)
    assert not all(map(torch.equal, one.parameters(), third.parameters()))


@pytest.mark.slow
def test_what_is_not_chosen_is_not_imported(tmp_path):
    flags = [
        *FUNCTION,
        "--workers",
        "0",
        "--generations",
        "1",
        "--noise.size",
        "100",
        "--run_dir",
        str(tmp_path / "run"),
    ]
    code = (
        "import sys; from distes.cli import main\n"
        f"assert main({flags}) == 0\n"
        "assert not {'gymnasium', 'ray', 'distes.tasks.gym.gym', 'distes.policies.mlp'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# Written down and read back


def round_trip(configuration: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "round.yaml"
    path.write_text(yaml_text.write(configuration))
    return resolve([DEFAULTS, read_file(path)])


@pytest.mark.parametrize(
    "argv",
    [
        [],
        FUNCTION,
        ["--task.env_kwargs", "{a: '5', b: 1e-3, c: '1e-3', d: [null, 'null', 'true', 2020-01-01]}"],
        ["--task.wrappers", "[a.B, {class_path: c.D, init_args: {x: '3'}}]"],
        ["--policy", f"{HERE}.Net", "--policy.width", "1", "--policy.inner", "torch.nn.Tanh"],
        ["--policy", f"{HERE}.Untyped", "--policy.colour", "'7'"],
        ["--policy", "CNN", "--run_dir", "1e3"],
    ],
)
def test_the_resolved_configuration_is_a_fixed_point(tmp_path, argv):
    configuration = parse(*argv)
    assert yaml_text.is_plain(configuration)
    assert round_trip(configuration, tmp_path) == configuration


def test_all_values_are_explicit(tmp_path):
    text = yaml_text.write(parse("--policy", "Linear"))
    for line in ("class_path: Linear", "env: CartPole-v1", "population_size: ", "workers: auto"):
        assert line in text


ALIKE = ["1e-3", "null", "'5'", "{a: 1}", "[1, '2']", "0x1f", "1_0", "2020-01-01", "yes", ".inf", "~", "="]


def test_a_run_can_be_repeated_from_the_file_it_leaves(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    argv = ["--workers", "0", "--generations", "3", "--strategy.population_size", "8", "--noise.size", "1000"]
    assert main([*FUNCTION, *argv, "--seed", "7", "--run_dir", str(one)]) == 0
    assert main(["--config", str(one / "config.yaml"), "--run_dir", str(other)]) == 0
    assert (one / "config.yaml").read_text() == (other / "config.yaml").read_text()
    digests = [re.findall(r'"params/sha256": "(\w+)"', (path / "metrics.jsonl").read_text()) for path in (one, other)]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(
        ["1e-3", "null", "'5'", "{a: 1}", "[1, '2']", "0x1f", "1_0", "2020-01-01", "yes", ".inf", "~", "="]
    )
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@given(VALUES)
def test_yaml_gives_back_what_was_written(value):
    assert yaml_text.read(yaml_text.write(value)) == value


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    env=st.text(max_size=6), kwargs=st.none() | st.dictionaries(st.text(max_size=4), VALUES, max_size=3), text=VALUES
)
def test_any_configuration_that_is_accepted_is_a_fixed_point(tmp_path, env, kwargs, text):
    content = {"task": {"init_args": {"env": env, "env_kwargs": kwargs, "wrappers": text}}}
    path = tmp_path / "any.yaml"
    path.write_text(yaml_text.write(content))
    with contextlib.suppress(ConfigurationError):
        configuration = resolve([DEFAULTS, read_file(path)])
        assert configuration["task"]["init_args"]["env_kwargs"] == kwargs
        assert round_trip(configuration, tmp_path) == configuration


# What is wrong: one sentence each


WRONG_FLAGS = {
    "--strategy.sigmma 1": r"'strategy.sigmma' is not a key .* Did you mean 'strategy.sigma'\?",
    "--startegy.sigma 1": r"'startegy.sigma' .* Did you mean 'strategy.sigma'\?",
    "--sigma 1": r"'sigma' .* Did you mean 'strategy.sigma'\?",
    "--env Pendulum-v1": r"'env' .* Did you mean 'task.env'\?",
    "--run-dir x": r"'run-dir' .* Did you mean 'run_dir'\?",
    "--generation 3": r"'generation' .* Did you mean 'generations'\?",  # no abbreviations
    "--policy Linear --policy.hidden_sizes [3]": r"'policy.hidden_sizes' .*: Linear takes bias, initial_scale",
    "--strategy.sigma.x 3": r"'strategy.sigma.x' is not a key",
    "--policy.observation_size 3": r"policy.observation_size cannot be configured: distes itself supplies it",
    "--task Gim": r"task 'Gim' is unknown: choose Gym, Function, Supervised, Language, or .* Did you mean 'Gym'\?",
    "--policy mlp": r"policy 'mlp' is unknown: .* Did you mean 'MLP'\?",
    "--policy no.such.Net": r"'no.such.Net' cannot be imported: there is no module 'no'\. It is looked for .*PATH",
    "--policy distes.nothing.Net": r"there is no module 'distes.nothing'",
    "--policy torch.nn.Linaer": r"the module torch.nn has no 'Linaer'. Did you mean 'Linear'\?",
    "--policy distes.tasks.functions.Function": r"must be a subclass of torch.nn.Module, and is not",
    "--policy torch.relu": r"must be a subclass of torch.nn.Module, and is not",
    "--task distes.tasks.base.Task": r"task 'distes.tasks.base.Task' is abstract",
    "--policy a..b": r"policy 'a..b' is not the import path of a class",
    "--policy 5": r"policy must be the name of a class, or class_path and init_args; got 5",
    "--strategy.sigma abc": r"strategy.sigma must be float or a mapping; got 'abc'",
    "--strategy.population_size 1.5": r"strategy.population_size must be int; got '1.5'",
    "--strategy.population_size true": r"strategy.population_size must be int; got 'true'",
    "--noise.seed null": r"noise.seed must be int; got 'null'",
    "--workers many": r"workers must be one of 'auto' or int or null; got 'many'",
    "--policy.hidden_sizes 5": r"policy.hidden_sizes must be a list of int; got '5'\. Write it as --.* '\[5\]'\.",
    "--policy.hidden_sizes 64,64": r"got '64,64'\. Write it as --policy.hidden_sizes '\[64, 64\]'\.",
    "--policy.hidden_sizes 64x32x2": r"Write it as --policy.hidden_sizes '\[64, 32, 2\]'\.",
    "--policy.hidden_sizes wide": r"got 'wide'\. Write it as --policy.hidden_sizes '\[64, 64\]'\.",
    "--task.env_kwargs g=9.8": r"a mapping or null; got 'g=9\.8'\. Write it as --task.env_kwargs '{g: 9\.8}'\.",
    "--device gpu": r"device must be one of 'auto', 'cpu', 'cuda'; got 'gpu'\. Did you mean 'cuda'",
    "--device null": r"device must be one of 'auto', 'cpu', 'cuda'; got 'null'",
    "--oversubscribe maybe": r"oversubscribe must be bool; got 'maybe'",
    "--task.env_kwargs 5": r"task.env_kwargs must be a mapping or null; got '5'\. Write it as --.* '{key: value}'\.",
    "--strategy.fitness_shaping centred_rank": r"must be one of 'centered_rank', .* Did you mean 'centered_rank'\?",
    "--seed": r"seed needs a value: --seed VALUE",
    "--config": r"config needs a value",
    "--task --seed 1": r"task needs a value",
    "seed 1": r"'seed' is not a flag",
    "--seed 64 64": r"'64' is not a flag: .* lists as --key '\[1, 2\]'",
    "--seed -1": r"seed must be from 0 to 18446744073709551615; got -1",
    "--workers -1": r"workers must be from 0 to",
    "--generations 0": r"generations must be .*; got 0",
    "--max_seconds -1": r"max_seconds must be at least 0; got -1",
    "--target_fitness .nan": r"target_fitness must be a number; got nan",
    "--chunk_size 3": r"chunk_size must be even, .*; got 3, use 4",
    "--chunk_size 0": r"chunk_size must be at least 2; got 0",
    "--eval_every 0": r"eval_every must be at least 1; got 0",
    "--keep_checkpoints 0": r"keep_checkpoints must be at least 1; got 0",
    "--config nowhere.yaml": r"nowhere.yaml cannot be read: there is no such file",
    "--config .": r"cannot be read: Is a directory",
    # refused by constructors
    "--strategy.population_size 33": r"^strategy.population_size must be even .* got 33, use 32 or 34",
    "--strategy.sigma 0": r"^strategy.sigma must be .*above 0; got 0",
    "--task Function --task.dimension 0": r"^task.dimension must be at least 1 for sphere; got 0",
    "--noise.size 10": r"noise table of 10 numbers is too small .* set --noise.size to at least",
    "--noise.size 0": r"^noise.size must be at least 2",
    "--policy.hidden_sizes [-1]": r"^policy.hidden_sizes must all be at least 1; got \[-1\]",
    "--task.env Cartpole-v1": r"no environment 'Cartpole-v1'. Did you mean 'CartPole-v1'\?",
    f"--policy {HERE}.Net": r"policy.width is missing: .*Net needs it",
    f"--policy {HERE}.Net --policy.width 13": r"policy: Net cannot be made: it raised RuntimeError: unlucky",
    f"--policy {HERE}.Net --policy.width -1": r"Net must answer one observation with shape \(1, 2\), .* got \(1, 99\)",
    "--policy CNN": r"CNN needs images",
    "--policy Linear --policy.initial_scale .inf": r"policy: the initial parameters of Linear are not all finite",
    "--policy torch.nn.Identity": r"Identity must answer one observation with shape \(1, 2\), .* got \(1, 4\)",
    f"--policy {HERE}.Net --policy.width 1 --policy.inner torch.nn.Linnear": r"policy.inner must be Module or null",
}


@pytest.mark.parametrize("flags", WRONG_FLAGS)
def test_wrong_flags_get_a_sentence(flags):
    sentence = fails(*flags.split())
    assert re.search(WRONG_FLAGS[flags], sentence), sentence
    assert "\n" not in sentence


WRONG_FILES = {
    "strategy: {init_args: {sigmma: 1}}": r"'strategy.sigmma' is not a key .* in .*conf.yaml: OpenAIES takes",
    "sede: 1": r"'sede' is not a key of the configuration in .*conf.yaml. Did you mean 'seed'\?",
    "strategy: {sigma: 1}": r"strategy.sigma is not a key in .*conf.yaml: .* its arguments under init_args",
    "strategy: {class_pth: OpenAIES}": r"Did you mean 'class_path'\?",
    "strategy: {class_path: 5}": r"strategy.class_path must be the name of a class; got 5 in .*conf.yaml",
    "strategy: {init_args: 5}": r"strategy.init_args must be a mapping of arguments; got 5 in",
    "strategy:": r"strategy must be the name of a class, or class_path and init_args; got null in",
    "noise: 5": r"noise must be a mapping, .*; got 5 in",
    "seed: '0x'": r"seed must be int; got '0x'",
    "seed: null": r"seed must be int; got null",
    "seed: true": r"seed must be int; got true",
    "config: a.yaml": r"'config' is not a key",
    "- seed": r"must be a mapping of keys to values",
    "a: 1\nb: [": r"conf.yaml, line 2: malformed YAML",
    "a: 1\n\tb: 2": r"conf.yaml, line 2: malformed YAML, .*: indent with spaces, not with tabs\.",
    "seed: 1\nseed: 2": r"conf.yaml, line 2: malformed YAML, 'seed' stands twice",
    "seed: !!python/none x": r"conf.yaml, line 1: malformed YAML",
    "seed: !!binary aGk=": r"conf.yaml, only mappings, lists, texts",
    "seed: &a [*a]": r"conf.yaml, line 1: malformed YAML, an alias stands within what it repeats",
    "seed: " + "[" * 5000: r"conf.yaml, .*malformed YAML",
    "seed: 1\n\x00": r"conf.yaml, line 2: malformed YAML, the character '\\x00' is not allowed",
}


@pytest.mark.parametrize("text", WRONG_FILES, ids=lambda text: repr(text[:30]))
def test_wrong_files_get_a_sentence(tmp_path, text):
    sentence = fails("--config", yaml_file(tmp_path, text))
    assert re.search(WRONG_FILES[text], sentence), sentence


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "conf.yaml").write_bytes(b"\xff\xfe\xfa")
    assert "not a text in UTF-8" in fails("--config", str(tmp_path / "conf.yaml"))


def test_a_list_or_a_mapping_that_is_none_in_a_file(tmp_path):
    (tmp_path / "conf.yaml").write_text("policy: {class_path: MLP, init_args: {hidden_sizes: '64,64'}}")
    assert fails("--config", str(tmp_path / "conf.yaml")).endswith("got '64,64'. Write it as [64, 64].")
    (tmp_path / "conf.yaml").write_text("task: {class_path: Gym, init_args: {env_kwargs: 3}}")
    assert fails("--config", str(tmp_path / "conf.yaml")).endswith('got 3. Write it as {"key": value}.')


def test_a_file_of_another_library_is_named_with_the_command_that_translates_it(tmp_path):
    path = tmp_path / "ars.yml"
    one = "CartPole-v1:\n  n_timesteps: 5e4\n  policy: LinearPolicy\n"
    path.write_text(one)
    said = fails("--config", str(path))
    assert "ars.yml is a configuration of rl-zoo, and has other keys than those of distes" in said
    assert said.endswith(f"import_config {path} -o NEW.yaml")
    path.write_text(f"{one}Pendulum-v1:\n  n_timesteps: 2e4\n")
    assert fails("--config", str(path)).endswith(f"import_config {path} --name ENTRY -o NEW.yaml")
    path.write_text('{"config": {"episodes_per_batch": 10000}, "env_id": "Humanoid-v1", "exp_prefix": "humanoid"}')
    assert "is a configuration of OpenAI" in fails("--config", str(path))


def test_a_module_that_fails_on_import(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_net.py").write_text("import module_that_is_not_there")
    (tmp_path / "bad_syntax.py").write_text("class")
    assert "broken_net raised ModuleNotFoundError: No module named 'module_that" in fails("--policy", "broken_net.Net")
    assert "bad_syntax raised SyntaxError: invalid syntax (bad_syntax.py, line 1)" in fails(
        "--policy", "bad_syntax.Net"
    )


@pytest.mark.parametrize(
    ("argv", "is_about_a_key"),
    [
        (["--seed", "x"], True),
        (["--sed", "3"], True),
        (["--generations", "1", "seed"], True),
        (["--seed"], True),
        (["--seed", "-1"], True),
        (["--policy", f"{HERE}.Net", "--policy.width", "13"], False),
        (["--task.env", "tests.support.odd_environments.FourValues", "--workers", "0"], False),
        (["--config", "nothing.yaml"], False),
    ],
)
def test_main_prints_one_line_and_exits_with_2(capsys, argv, is_about_a_key):
    """The line ends with where the keys are listed if it is about a key or its value, and not about what is trained."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\n]+\n", err)
    assert err.endswith("(--help all shows every key)\n") == is_about_a_key


def test_warnings_of_ours_are_one_line_and_those_of_libraries_none(tmp_path, capsys):
    argv = ["--task", "Function", "--policy", f"{HERE}.Untyped", "--policy.colour", "red", "--workers", "0"]
    assert main([*argv, "--generations", "1", "--run_dir", str(tmp_path / "run")]) == 0
    assert re.fullmatch(r"warning: The policy Untyped runs through [^\n]+\n", capsys.readouterr().err)


def test_a_full_disk_is_no_bug(monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError(28, "No space left on device", "runs")

    monkeypatch.setattr("distes.api.running.launch.train", fail)
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "error: OSError: [Errno 28] No space left on device: 'runs'\n"


def test_a_bug_is_said_to_be_one(monkeypatch, capsys):
    monkeypatch.setattr("distes.api.running.prepare.decide_device", {}.__getitem__)  # called with too many arguments
    assert main(["train"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err and "TypeError: " in err
    assert "please report it" in err


def test_interrupted_before_there_is_a_run(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("distes.api.running.prepare.start_pool", interrupt)
    path = tmp_path / "run"
    assert main([*FUNCTION, "--run_dir", str(path)]) == 130
    assert "Interrupted" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*FUNCTION, "--workers", "0", "--generations", "1", "--run_dir", str(path)]) == 0  # it is still free


def test_debug_shows_where_an_error_arose(capsys):
    assert main(["--seed", "x", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


# Help


def test_help_has_all_keys_with_their_defaults_and_meanings(capsys):
    assert main(["train", "--help", "all"]) == 0
    text = capsys.readouterr().out
    assert "--strategy.l2_coeff float\n        Weight decay, added to the gradient" in text
    assert "task: Gym. " in text
    for key in flat(parse()):
        assert f"--{key} " in text


@pytest.mark.parametrize(
    "argv", [["--policy.help", "Linear"], ["--policy.help=Linear"], ["--policy", "Linear", "--policy.help"]]
)
def test_help_for_one_class_by_its_short_name(argv):
    text = format_help(read_flags(argv))
    assert "--policy.initial_scale" in text
    assert "--policy.hidden_sizes" not in text
    assert "--seed" not in text


# Where members are evaluated


SHORT = [*FUNCTION, "--workers", "0", "--generations", "1", "--final_episodes", "0", "--noise.size", "1000"]


def test_a_gpu_that_is_not_there_is_said_before_there_is_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("distes.api.building.pool.visible_gpus", lambda: 0)
    path = tmp_path / "run"
    assert main([*SHORT, "--device", "cuda", "--run_dir", str(path)]) == 2
    assert capsys.readouterr().err.startswith("error: device is cuda, but this machine has no GPU")
    assert not path.exists()


def test_a_run_keeps_the_device_that_auto_came_to(tmp_path, monkeypatch, capsys):
    """Though a GPU turns up later."""
    monkeypatch.setattr("distes.api.building.pool.visible_gpus", lambda: 0)
    path = tmp_path / "run"
    assert main([*SHORT, "--run_dir", str(path)]) == 0
    assert read_file(path / "config.yaml").values["device"] == "cpu"
    monkeypatch.setattr("distes.api.building.pool.visible_gpus", lambda: 1)
    monkeypatch.setattr("distes.pools.device.GPU_PARAMETERS", 1)
    assert main(["--resume", str(path), "--generations", "2"]) == 0
    assert read_file(path / "config.yaml").values["device"] == "cpu"
    assert "goes on with device" not in capsys.readouterr().out


def test_a_run_that_changes_its_device_says_so(tmp_path, capsys):
    path = tmp_path / "run"
    assert main([*SHORT, "--device", "cpu", "--run_dir", str(path)]) == 0
    config = path / "config.yaml"
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    assert main(["--resume", str(path), "--device", "cpu", "--generations", "2"]) == 0
    assert "The run leaves cuda and goes on with device cpu: from here on its last bits" in capsys.readouterr().out
    assert read_file(config).values["device"] == "cpu"


def test_the_device_of_a_cluster_is_left_to_the_cluster(monkeypatch):
    monkeypatch.setattr("distes.api.building.pool.visible_gpus", lambda: 0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for flags, expected in (
        (["--address", "auto", "--device", "cuda"], "cuda"),
        (["--address", "auto"], "auto"),
        (["--address", "auto", "--workers", "0"], "cpu"),
        ([], "cpu"),
    ):
        configuration = parse(*FUNCTION, "--noise.size", "1000", *flags)
        assert decide_device(configuration, build(configuration)[0]).device == expected
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    configuration = parse(*FUNCTION, "--noise.size", "1000")
    assert decide_device(configuration, build(configuration)[0]).device == "auto"


@pytest.mark.parametrize(
    ("device", "gpus", "expected", "lines"),
    [
        ("cpu", 1, "cpu", 0),
        ("cuda", 1, "cuda", 0),
        ("cuda", 0, "cpu", 1),
    ],
)
def test_the_update_is_formed_on_the_driver_s_gpu(monkeypatch, device, gpus, expected, lines):
    monkeypatch.setattr("distes.api.building.pool.visible_gpus", lambda: gpus)
    prepared = []
    monkeypatch.setattr("distes.api.building.pool.configure_torch", prepared.append)
    perturbation, said = build(parse(*FUNCTION, "--noise.size", "1000"))[0].perturbation, []
    sum_on(perturbation, device, said.append)
    assert vars(perturbation).get("device", "cpu") == expected
    assert prepared == ["cuda"] * (expected == "cuda")  # so that its bits are those of a run in one process
    assert len(said) == lines and all("sees no GPU: it forms the update on its processor" in line for line in said)


def test_a_gpu_too_small_for_the_update_is_no_bug(monkeypatch, capsys):
    def run_out(configuration, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")

    monkeypatch.setattr("distes.api.running.launch.train", run_out)
    assert main(SHORT) == 2
    assert capsys.readouterr().err.startswith("error: the update does not fit on the driver's GPU")


def test_what_a_task_has_to_say_is_printed(tmp_path, monkeypatch, capsys):
    from distes.tasks.functions import Function

    monkeypatch.setattr(Function, "notice", "Steps are taken backwards.", raising=False)
    assert main([*SHORT, "--run_dir", str(tmp_path / "run")]) == 0
    assert "Steps are taken backwards.\n" in capsys.readouterr().out


# Resuming


STORED = [*FUNCTION, "--strategy.sigma", "0.3", "--generations", "5"]


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        yaml_text.write(parse(*FUNCTION, "--strategy.sigma", "0.3", "--generations", "5"))
    )
    return str(folder)


def test_resume_takes_the_stored_configuration(run_dir):
    assert parse("--resume", run_dir) == {
        **parse(*FUNCTION, "--strategy.sigma", "0.3", "--generations", "5"),
        "run_dir": run_dir,
    }


def test_budget_and_place_may_be_given_beside_resume(run_dir):
    given = {
        **{"generations": 9, "total_timesteps": 7, "max_seconds": 2.5, "target_fitness": 1.0, "workers": 3},
        **{
            "device": "cpu",
            "address": "auto",
            "oversubscribe": True,
            "checkpoint_seconds": 1.0,
            "keep_checkpoints": 9,
            "debug": True,
        },
    }
    flags = [part for key, value in given.items() for part in (f"--{key}", str(value).lower())]
    assert flat(parse("--resume", run_dir, *flags)).items() >= given.items()


def test_repeating_what_is_stored_is_fine(run_dir, tmp_path):
    path = yaml_file(tmp_path, "task: Function\nstrategy: {init_args: {sigma: 3e-1}}")
    assert parse("--resume", run_dir, "--config", path, "--seed", "0", "--run_dir", run_dir) == parse(
        "--resume", run_dir
    )


CONTRADICTIONS = {
    "--strategy.sigma 0.4": r"strategy.sigma is 0.3 in .*config.yaml and cannot become 0.4",
    "--task Gym": r"task is 'Function' in .* and cannot become 'Gym'",
    "--seed 4": r"seed is 0 in",
    "--chunk_size 4": r"chunk_size is null in .* and cannot become 4",
    "--run_dir elsewhere": r"run_dir 'elsewhere' is not the directory .* to be resumed",
    "--strategy.sigmma 4": r"Did you mean 'strategy.sigma'",
}


@pytest.mark.parametrize("flags", CONTRADICTIONS)
def test_a_contradiction_is_refused(run_dir, flags):
    assert re.search(CONTRADICTIONS[flags], fails("--resume", run_dir, *flags.split()))


def test_nothing_to_resume(tmp_path):
    assert "holds no config.yaml" in fails("--resume", str(tmp_path))
    assert "does not exist" in fails("--resume", str(tmp_path / "nowhere"))


# Whatever else is thrown at it


KEYS = [
    *("seed", "workers", "generations", "chunk_size", "run_dir", "task", "policy", "strategy", "perturbation", "noise"),
    *("task.name", "task.dimension", "policy.bias", "policy.initial_scale", "policy.hidden_sizes", "noise.size"),
    *("strategy.sigma", "strategy.population_size", "strategy.optimizer", "strategy.optimizer_args.lr", "noise.dtype"),
    *("task.help", "help", "", ".", "task.", ".task", "task..name", "strategy.optimizer_args", "policy.class_path"),
]
ODD = [
    *("Function", "Linear", "OpenAIES", "Dense", "sphere", "SGD", "a.b", "true", "null", "-1", "0", "3", "1e300"),
    *("nan", ".nan", ".inf", "[]", "{}", "[1, 2]", "{class_path: Linear}", "{a: {b: c}}", "&a [*a]", "!!set {a}", "'"),
]
WORDS = st.sampled_from(ODD) | st.text(max_size=6)
NUMBERS = st.sampled_from([-1, 0, 0.5, 1, 2, 7, math.inf, -math.inf, math.nan, 2**63, 2**64, 1e308, True, None])


def outcome(argv: list[str], content: Any = None) -> None:
    """Either a configuration that can be built, or one sentence that names something of what was given."""
    try:
        flags = read_flags(["--task", "Function", "--policy", "Linear", *argv])
        if flags.asks_for_help:
            format_help(flags)
        else:
            build(configure(flags))
    except ConfigurationError as error:
        words = set(names([argv, content]))
        words |= {repr(word.strip())[1:-1] for word in argv if word.strip()}  # as --help shows what it looked for
        sentence = " ".join(str(error).split())
        said = sentence if len(sentence) < 3000 else ""
        assert any(word in said for word in words), f"{sentence!r} names nothing of {words}"
        assert re.search(r"[.?)]$", said) and " object at 0x" not in said, sentence


def names(given: Any) -> Iterator[str]:
    """The keys and texts in flags or in a file, whole and by their parts, as a message may show them."""
    if isinstance(given, dict | list):
        for item in [*given, *(given.values() if isinstance(given, dict) else ())]:
            yield from names(item)
    elif isinstance(given, str):
        whole = given.removeprefix("--")
        yield from (word for word in (whole, repr(given), repr(whole)[1:-1], *whole.split(".")) if word.strip())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(KEYS) | st.text(max_size=5), WORDS), max_size=4))
def test_random_flags_give_objects_or_a_sentence(pairs):
    outcome([part for key, word in pairs for part in (f"--{key}", word)])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), NUMBERS | WORDS | VALUES, max_size=4), st.booleans())
def test_random_files_give_objects_or_a_sentence(tmp_path, content, nested):
    if nested:
        content = {"strategy": {"init_args": {key.rpartition(".")[2]: value for key, value in content.items()}}}
    path = tmp_path / "random.yaml"
    path.write_text(yaml_text.write(content))
    outcome(["--config", str(path)], content)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=40))
def test_random_texts_give_objects_or_a_sentence(tmp_path, text):
    path = tmp_path / "random.yaml"
    path.write_text(text)
    outcome(["--config", str(path)])
