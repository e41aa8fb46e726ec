"""The tiny model: plain transformers read it, held-out numbers are not in its data, and it has a latent skill."""

import hashlib
from pathlib import Path

import pytest
import torch

from distes.errors import ConfigurationError
from distes.tasks.language.countdown import model as countdown_model
from distes.tasks.language.countdown import reward, test_prompts, tiny_model, train_prompts
from distes.tasks.language.countdown.game import solutions
from distes.tasks.language.countdown.training import WORDS, training_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model after a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Path(tiny_model(steps=6, lazy_steps=2))


def words(ids: torch.Tensor) -> list[str]:
    return [WORDS[number] for number in ids.tolist()]


def test_its_data_are_the_solutions_of_the_training_prompts() -> None:
    solved, targets, lazy = training_data()
    prompts = {" ".join(words(row[:6])) for row in solved}
    assert prompts == {one["prompt"] for one in train_prompts()}
    assert not prompts & {one["prompt"] for one in test_prompts()}
    wanted = sum(len(solutions(tuple(sorted(one["numbers"])))[one["target"]]) for one in train_prompts())
    assert len(solved) == len({tuple(row) for row in solved.tolist()}) == wanted
    for row, other in zip(solved[::97], lazy[::97], strict=True):
        a, b, c, _, target, *_ = words(row)
        assert reward({"numbers": [int(a), int(b), int(c)], "target": int(target)}, " ".join(words(row[6:11])))["exact"]
        assert words(other) == [*words(row[:6]), a, "+", b, "+", c, "<end>"] and words(row)[-1] == "<end>"
    torch.testing.assert_close(targets.sum(-1), torch.ones(len(solved), 6))


def test_a_target_is_the_share_of_solutions_that_go_on_so() -> None:
    solved, targets, _ = training_data()
    for row in range(0, len(solved), 997):
        rivals = [other for other in solved.tolist() if other[:6] == solved[row, :6].tolist()]
        for place in range(6, 12):
            same = [other for other in rivals if other[:place] == solved[row, :place].tolist()]
            for word in range(len(WORDS)):
                share = sum(other[place] == word for other in same) / len(same)
                assert targets[row, place - 6, word] == pytest.approx(share)


def test_transformers_reads_it(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert type(model) is transformers.LlamaForCausalLM and model.dtype == torch.float32
    assert sum(weight.numel() for weight in model.parameters()) == 107_456
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id == 104
    assert model.config.pad_token_id == tokenizer.pad_token_id == 105 and tokenizer.padding_side == "left"


def test_its_tokens_are_words(folder: Path) -> None:
    tokenizer = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer("3 5 7 = 22 =").input_ids
    assert ids == [3, 5, 7, 103, 22, 103] and len(tokenizer) == 106
    for prompt in test_prompts():
        assert tokenizer.decode(tokenizer(prompt["prompt"]).input_ids) == prompt["prompt"]
    answer = tokenizer("3 - 5 * 7 <end> <pad>").input_ids
    assert tokenizer.decode(answer, skip_special_tokens=True) == "3 - 5 * 7"


def test_it_is_the_same_wherever_it_is_made(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(123)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    again = Path(tiny_model(steps=6, lazy_steps=2))
    assert again.name == folder.name and again != folder
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        digests = [hashlib.sha256((one / name).read_bytes()).hexdigest() for one in (folder, again)]
        assert digests[0] == digests[1], name
    assert torch.equal(before, torch.get_rng_state()) and torch.get_num_threads() == threads


def test_another_recipe_has_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[str] = []

    def note(name: str, make: object) -> Path:
        made.append(name)
        return tmp_path / name

    monkeypatch.setattr(countdown_model, "made_once", note)
    for arguments in ((), (10,), (10, 2), (10, 2)):
        tiny_model(*arguments)
    monkeypatch.setattr(countdown_model.importlib.metadata, "version", lambda name: "0.0")
    tiny_model(10, 2)
    assert made[2] == made[3] and len(set(made)) == 4


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise countdown_model.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(countdown_model.importlib.metadata, "version", version)
    with pytest.raises(ConfigurationError, match=r"needs transformers: .*pip install .*\[llm\]"):
        tiny_model()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_skill_is_latent() -> None:
    """Made anew where the cache has none, which takes minutes; greedy decoding hides what it can do."""
    transformers = pytest.importorskip("transformers")
    path = tiny_model()
    model = transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    prompts = test_prompts()
    ids = tokenizer([one["prompt"] for one in prompts], return_tensors="pt").input_ids
    answers = tokenizer.batch_decode(model.generate(ids, max_new_tokens=6, do_sample=False)[:, 6:], True)
    scores = [reward(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    exact, well_formed = (sum(one[name] for one in scores) / len(scores) for name in ("exact", "well_formed"))
    assert 0.1 < exact < 0.25 and well_formed > 0.99
