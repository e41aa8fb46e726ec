"""What a resume reads, compares and refuses; and that whoever only looks at a run changes nothing of it."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distes.api.configuration import yaml_text
from distes.cli import main
from distes.cli.play import main as play
from distes.runs.checkpoint import Checkpoints
from distes.runs.directory import RunDirectory
from distes.training.trainer import Trainer
from tests.support.small import DRIFT

FLAGS = f"""--task.env {DRIFT} --task.normalize_observations true --policy.hidden_sizes [4] --noise.size 5000
    --workers 0 --strategy.population_size 16 --target_fitness .inf --eval_episodes 1 --final_episodes 0
    --checkpoint_seconds 0 --generations 3""".split()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    assert main([*FLAGS, "--run_dir", str(path)]) == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run of three generations."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def everything(folder: Path) -> dict[str, Any]:
    """Bytes, times and modes of all that is in a folder, the folder included."""
    found: dict[str, Any] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        found[str(path)] = status.st_mtime_ns, status.st_mode, status.st_ino, content
    return found


def resume(run: Path, *flags: str) -> int:
    return main(["--resume", str(run), "--trust", "--generations", "5", *flags])


def digests(run: Path) -> list[tuple[int, str]]:
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(row["generation"], row["params/sha256"]) for row in rows]


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes config.yaml by hand."""
    configuration = yaml_text.read((run / "config.yaml").read_text())
    assert isinstance(configuration, dict)
    change(configuration)
    (run / "config.yaml").write_text(yaml_text.write(configuration))


class TestReplay:
    @pytest.mark.parametrize(("what", "code"), [("4", 0), ("4,0,+", 0), ("4,7,-", 0), ("4,8,+", 2), ("2,0,+", 2)])
    def test_changes_no_file(self, run: Path, what: str, code: int) -> None:
        with (run / "metrics.jsonl").open("a") as metrics:  # as a run has that was killed after its last checkpoint
            metrics.write('{"generation": 4}\n{"generation": 5}\n{"gener')
        before = everything(run.parent)
        assert main(["--resume", str(run), "--trust", "--replay", what]) == code
        assert everything(run.parent) == before

    def test_nor_does_playing(self, run: Path) -> None:
        before = everything(run.parent)
        assert play([str(run), "--trust", "--episodes", "1"]) == 0
        assert everything(run.parent) == before

    def test_takes_no_lock_and_needs_none(self, run: Path) -> None:
        (run / ".lock").unlink()
        assert main(["--resume", str(run), "--trust", "--replay", "4,0,+"]) == 0
        assert not (run / ".lock").exists()
        with RunDirectory.open(run):
            assert main(["--resume", str(run), "--trust", "--replay", "4,0,+"]) == 0

    def test_the_generations_that_are_gone_through_again_are_dropped_where_training_goes_on(self, run: Path) -> None:
        with (run / "metrics.jsonl").open("a") as metrics:
            metrics.write('{"generation": 4, "params/sha256": "old"}\n{"gener')
        assert resume(run) == 0
        assert [generation for generation, _ in digests(run)] == [1, 2, 3, 4, 5]
        assert "old" not in (run / "metrics.jsonl").read_text()


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "sigma": (lambda c: c["strategy"]["init_args"].update(sigma=0.2), r"strategy.sigma 0.1 \(now 0.2\)"),
    "seed": (lambda c: c.update(seed=1), r"seed 0 \(now 1\)"),
    "optimizer": (lambda c: c["strategy"]["init_args"].update(optimizer="SGD"), r"strategy.optimizer Adam \(now SGD\)"),
    "rate": (lambda c: c["strategy"]["init_args"].update(learning_rate=1), r"strategy.learning_rate 0.1 \(now 1"),
    "noise": (lambda c: c["noise"].update(seed=5), r"noise.seed 123 \(now 5\).*noise/fingerprint \w+ \(now \w+\)"),
    "dtype": (lambda c: c["noise"].update(dtype="float16"), r"noise.dtype float32 \(now float16\)"),
    "chunks": (lambda c: c.update(chunk_size=2), r"chunk_size null \(now 2\)"),
    "task": (lambda c: c["task"]["init_args"].update(reward_shift=1.0), r"task.reward_shift \S+ \(now 1.0\)"),
    "normalisation": (
        lambda c: c["task"]["init_args"].update(normalize_observations=False),
        r"task.normalize_observations true \(now false\)",
    ),
    "layers": (
        lambda c: c["policy"]["init_args"].update(hidden_sizes=[4, 4]),
        r"policy.hidden_sizes .*policy/parameters .*\(4, 3\).* \(now .*\(4, 4\)",
    ),
    "strategy": (
        lambda c: c.update(strategy={"class_path": "distes.strategies.snes.SNES", "init_args": {}}),
        r"strategy OpenAIES \(now SNES\)",
    ),
    "perturbation": (
        lambda c: c.update(perturbation={"class_path": "distes.perturbations.low_rank.LowRank", "init_args": {}}),
        r"perturbation Dense \(now LowRank\)",
    ),
}


class TestTheExperiment:
    @pytest.mark.parametrize("name", CHANGES)
    def test_is_kept(self, run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        change, message = CHANGES[name]
        edit(run, change)
        kept = everything(run / "checkpoints"), (run / "metrics.jsonl").read_bytes(), (run / "config.yaml").read_bytes()
        capsys.readouterr()
        assert resume(run) == 2
        said = capsys.readouterr().err
        assert said.count("error:") == 1 and "generation-00000003" in said and "--run_dir" in said

        assert re.search(message, said), said
        assert kept == (
            everything(run / "checkpoints"),
            (run / "metrics.jsonl").read_bytes(),
            (run / "config.yaml").read_bytes(),
        )

    def test_budget_and_place_and_what_is_only_looked_at_may_change(self, run: Path) -> None:
        edit(run, lambda c: c.update(eval_episodes=2, eval_every=2, final_episodes=1, keep_checkpoints=1, workers=0))
        assert resume(run, "--checkpoint_seconds", "3") == 0
        assert len(digests(run)) == 5

    def test_a_checkpoint_that_says_nothing_of_it_is_gone_on_from_and_that_is_said_once(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        checkpoints = Checkpoints(run / "checkpoints")
        found = checkpoints.load_newest()
        assert found is not None
        del found[1]["experiment"]
        checkpoints.save(*found)
        said = []
        for generations in ("4", "5"):
            capsys.readouterr()
            assert main(["--resume", str(run), "--trust", "--generations", generations]) == 0
            said.append("does not say of which experiment it is" in capsys.readouterr().out)
        assert said == [True, False]

    def test_another_noise_of_the_same_name_is_noticed(
        self, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As another version of NumPy would make."""
        monkeypatch.setattr("distes.noise.table.NoiseTable.fingerprint", "0123456789abcdef")
        assert resume(run) == 2
        assert "noise/fingerprint" in capsys.readouterr().err

    def test_a_genetic_algorithm_s_initial_parameters_are_part_of_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        flags = "--strategy DeepGA --strategy.population_size 8 --strategy.parents 2 --strategy.candidates 2"
        less = [flag for flag in FLAGS if flag not in ("--strategy.population_size", "16")]
        assert main([*less, *flags.split(), "--run_dir", str(tmp_path / "run")]) == 0
        assert resume(tmp_path / "run", "--generations", "4") == 0
        monkeypatch.setattr("torch.nn.init.calculate_gain", lambda *_: 1.0)
        monkeypatch.setattr("torch.manual_seed", lambda _: None)
        assert resume(tmp_path / "run") == 2
        assert "policy/initial" in capsys.readouterr().err

    def test_so_are_those_that_weight_decay_pulls_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A resume goes on bit for bit from the same ones, and is refused from others."""
        flags = [*FLAGS, "--strategy.l2_coeff", "0.1", "--strategy.decay_towards", "initial"]
        digests = []
        for name, parts in (("whole", ("4",)), ("parts", ("2", "4"))):
            run = tmp_path / name
            assert main([*flags, "--generations", parts[0], "--run_dir", str(run)]) == 0
            for generations in parts[1:]:
                assert resume(run, "--generations", generations) == 0
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            digests.append([row["params/sha256"] for row in rows])
            assert all(row["norm/from_initial"] > 0 for row in rows)
        assert digests[0] == digests[1] and len(digests[0]) == 4
        monkeypatch.setattr("torch.nn.init.calculate_gain", lambda *_: 1.0)
        monkeypatch.setattr("torch.manual_seed", lambda _: None)
        assert resume(run, "--generations", "5") == 2
        assert "policy/initial" in capsys.readouterr().err


class TestCheckpointsThatAreGone:
    @pytest.mark.parametrize("how", ["folder", "content", "metrics alone are left", "a policy alone is left"])
    def test_are_not_begun_anew_silently(self, run: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.rmtree(run / "checkpoints")
        if how == "content":
            (run / "checkpoints").mkdir()
        if how == "metrics alone are left":
            shutil.rmtree(run / "policy")
        if how == "a policy alone is left":
            (run / "metrics.jsonl").unlink()
        before = {name: value[3] for name, value in everything(run).items() if not name.endswith(".lock")}
        capsys.readouterr()
        assert resume(run) == 2
        assert "There is no checkpoint in" in (said := capsys.readouterr().err) and "--run_dir" in said
        after = {name: value[3] for name, value in everything(run).items() if not name.endswith(".lock")}
        assert before.items() <= after.items()

    def test_are_no_loss_to_a_run_that_never_began(self, run: Path) -> None:
        shutil.rmtree(run / "checkpoints")
        shutil.rmtree(run / "policy")
        (run / "metrics.jsonl").unlink()
        assert resume(run) == 0
        assert len(digests(run)) == 5

    def test_a_run_has_one_before_it_has_metrics(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """So that one that is killed in its first seconds can be resumed."""

        def killed(self: Any, *_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("distes.runs.store.RunStore.close", killed)
            patch.setattr("distes.runs.background_writer.BackgroundWriter.hand_over", lambda *_: None)
            main([*FLAGS, "--run_dir", str(tmp_path / "run"), "--checkpoint_seconds", "1000"])
        assert len(digests(tmp_path / "run")) == 3
        assert os.listdir(tmp_path / "run" / "checkpoints") == ["generation-00000000"]
        assert resume(tmp_path / "run") == 0
        assert [generation for generation, _ in digests(tmp_path / "run")] == [1, 2, 3, 4, 5]


HARMS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "dropped": (lambda s: s.pop("timesteps"), "/timesteps is missing"),
    "text": (lambda s: s.update(generation="3"), r"/generation is '3' \(str\), where 0 \(int\) is expected"),
    "negative": (lambda s: s.update(episodes=-1), "/episodes is -1, where a count is expected"),
    "nan": (lambda s: s.update(best=float("nan")), "/best is not finite"),
    "moments": (lambda s: s["observations"].pop("m2_O"), "/observations/m2_O is missing"),
    "no moments": (lambda s: s.update(observations=None), r"/observations is None \(NoneType\), where a mapping"),
    "shape": (
        lambda s: s["observations"].update(mean_O=s["observations"]["mean_O"][:2]),
        r"/observations/mean_O is an array of float64, shape \(2,\), where an array of float64, shape \(3,\)",
    ),
    "reached": (lambda s: s.update(reached={"reason": "target_fitness"}), "/reached/generation is missing"),
    "reached, of no kind": (lambda s: s.update(reached=3), r"/reached is 3 \(int\), where a mapping is expected"),
    "centre": (lambda s: s["strategy"].pop("centre_P"), "/strategy/centre_P is missing"),
    "memory": (lambda s: s["strategy"]["memory"].pop("exp_avg"), "/strategy/memory/exp_avg is missing"),
}


@pytest.mark.parametrize("name", HARMS)
def test_a_harmed_state_is_refused_by_file_and_key(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:

    harm, message = HARMS[name]
    checkpoints = Checkpoints(run / "checkpoints")
    found = checkpoints.load_newest()
    assert found is not None
    harm(found[1])
    checkpoints.save(*found)
    kept = everything(run / "checkpoints"), (run / "metrics.jsonl").read_bytes()
    capsys.readouterr()
    assert resume(run) == 2
    said = capsys.readouterr().err
    assert re.search(rf"generation-00000003\.\d does not belong to this run: {message}", said), said
    assert kept == (everything(run / "checkpoints"), (run / "metrics.jsonl").read_bytes())


class TestHostileDirectories:
    @pytest.mark.parametrize("harm", ["link", "fifo", "folder", "else's"])
    def test_a_lock_that_is_none_is_not_written_to(
        self, run: Path, harm: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        mine, lock = run.parent / "mine", run / ".lock"
        mine.write_text("precious\n")
        lock.unlink()
        match harm:
            case "link":
                lock.symlink_to(mine)
            case "fifo":
                os.mkfifo(lock)
            case "folder":
                lock.mkdir()
            case "else's":
                os.link(mine, lock)
        assert resume(run) == 2
        assert mine.read_text() == "precious\n" and str(lock) in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["metrics.jsonl", "checkpoints", "policy"])
    @pytest.mark.parametrize("harm", ["link", "fifo", "other kind"])
    def test_what_is_of_another_kind_is_a_sentence(
        self, run: Path, name: str, harm: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, mine = run / name, run.parent / "mine"
        mine.write_text("precious\n")
        is_file = path.is_file()
        path.unlink() if is_file else shutil.rmtree(path)
        match harm:
            case "link":
                path.symlink_to(mine)
            case "fifo":
                os.mkfifo(path)
            case "other kind":
                path.mkdir() if is_file else path.write_text("a file")
        assert resume(run) == 2
        assert mine.read_text() == "precious\n" and str(path) in capsys.readouterr().err

    def test_one_that_is_removed_during_the_run_is_said_and_not_made_anew(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = Trainer._one_generation

        def removing(self: Trainer, signals: Any) -> None:
            whole(self, signals)
            if self.generation == 2:
                (tmp_path / "run").rename(tmp_path / "elsewhere")

        monkeypatch.setattr(Trainer, "_one_generation", removing)
        code = main([*FLAGS, "--run_dir", str(tmp_path / "run")])
        said = capsys.readouterr()
        assert code in (0, 2) and "could not be written" in said.out and "Traceback" not in said.err
        assert not (tmp_path / "run").exists()
