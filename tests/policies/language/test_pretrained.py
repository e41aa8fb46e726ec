"""Language models on disk: what is found, what is refused with a sentence, and that transformers is quiet meanwhile."""

import copy
import pickle
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from distes.cli.guard import quiet
from distes.errors import ConfigurationError, DistesNotice, DistesWarning
from distes.errors.trust import only_own
from distes.policies.language import pretrained
from distes.policies.language.causal_lm import CausalLM
from distes.policies.layout import Layout
from tests.support import word_models
from tests.support.model_families import folder
from tests.support.word_models import words


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    pretrained.folder_of.cache_clear()
    yield
    pretrained.folder_of.cache_clear()


def test_a_folder_or_a_function_that_makes_one() -> None:
    assert pretrained.folder_of(words()) == Path(words())
    assert pretrained.folder_of("tests.support.word_models.model") == Path(words())
    policy = CausalLM("tests.support.word_models.model")
    assert policy.folder == Path(words()) and policy.tokenizer.encode("w3 w90") == [3, 90]
    assert {one.dtype for one in policy.parameters()} == {torch.float32} and not policy.model.training


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("{here}", r"path .* is a folder without config\.json: give the folder that save_pretrained"),
        ("{here}/notes.txt", r"path must be a folder of save_pretrained, or a file \.gguf; got the file .*notes\.txt"),
        ("{here}/missing", r"path: there is no folder or GGUF file .*missing\."),
        ("missing", r"path: there is no folder or GGUF file missing\."),
        ("not an.import path", r"path: there is no folder or GGUF file not an\.import path\."),
        ("tests.support.prompts.broken", r"path: tests\.support\.prompts\.broken\(\) raised KeyError: .*no such data"),
        ("os.getcwd", r"path: os\.getcwd\(\) returned .*, which is no folder of a model\."),
        (
            "tests.support.word_models.missing",
            r"policy\.path .*missing' cannot be imported: .* has no 'missing'",
        ),
    ],
)
def test_what_is_no_model_is_refused_with_a_sentence(path: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ConfigurationError, match=sentence):
        pretrained.folder_of(path.format(here=tmp_path))


def test_a_function_of_somebody_else_needs_trust() -> None:
    with only_own("run/config.yaml", set()), pytest.raises(ConfigurationError, match="word_models"):
        pretrained.folder_of("tests.support.word_models.model")


def test_a_folder_that_transformers_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonesuch"}')
    with pytest.raises(ConfigurationError, match=r"cannot load a causal language model from .*: it raised ValueError"):
        CausalLM(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        ("llama", r"has no tokenizer that transformers can load: it raised"),
        ("phi", r"has no tokenizer: none of .*tokenizer\.json.* is there\. Write it with tokenizer\.save_pretrained\."),
        ("gemma", r"has no tokenizer: none of "),
    ],
)
def test_a_folder_without_a_tokenizer(family: str, sentence: str) -> None:
    """Of some families transformers then makes an empty one, for which each prompt would be no token."""
    with pytest.raises(ConfigurationError, match=sentence):
        _ = CausalLM(folder(family)).tokenizer


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = words()  # which needs transformers, too
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigurationError, match=r"policy CausalLM needs transformers, .*llm"):
        CausalLM(folder)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_gguf_file_needs_two_packages(package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    find = pretrained.importlib.util.find_spec
    monkeypatch.setattr(
        pretrained.importlib.util, "find_spec", lambda name: None if name == package else find(name) or True
    )
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigurationError, match=f"to read a GGUF file transformers needs {package}: pip install gguf"):
        pretrained.folder_of(str(tmp_path / "model.gguf"))


class Reader:
    """Stands in for what reads a GGUF file, with a progress bar of its own."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded

    def from_pretrained(self, place: Path, *, gguf_file: str, **settings: Any) -> Any:
        sys.stderr.write("Converting and de-quantizing GGUF tensors...: 3%")
        assert (place / gguf_file).is_file() and settings["local_files_only"]
        if not self.loaded:
            raise ValueError("bad magic")
        return self.loaded


@pytest.fixture
def gguf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Path, SimpleNamespace]:
    """A file, and the library that reads it, with a model that is made up."""
    import transformers

    policy = CausalLM(words())
    library = SimpleNamespace(
        utils=transformers.utils, AutoModelForCausalLM=Reader(policy.model), AutoTokenizer=Reader(policy.tokenizer)
    )
    monkeypatch.setattr(pretrained, "transformers", lambda: library)
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    return tmp_path / "model.gguf", library


def test_a_gguf_file_is_converted_once_with_a_line_of_our_own(
    gguf: tuple[Path, SimpleNamespace], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(DistesNotice, match=r"Converting .*model\.gguf once, into .*cache/distes/model-\w{12}: this may"):
        made = pretrained.folder_of(str(gguf[0]))
    assert (made / "config.json").is_file() and (made / "tokenizer.json").is_file()
    assert not list(made.parent.glob("tmp*")) and capsys.readouterr().err == ""
    pretrained.folder_of.cache_clear()
    gguf[1].AutoModelForCausalLM = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pretrained.folder_of(str(gguf[0])) == made
    gguf[0].write_bytes(b"GGUF2")
    pretrained.folder_of.cache_clear()
    with pytest.warns(DistesNotice), pytest.raises(ConfigurationError, match="cannot convert this GGUF file"):
        pretrained.folder_of(str(gguf[0]))


def test_a_broken_gguf_file_leaves_nothing_behind(gguf: tuple[Path, SimpleNamespace]) -> None:
    gguf[1].AutoModelForCausalLM.loaded = None
    sentence = r"transformers cannot convert this GGUF file: it raised ValueError: bad magic"
    with pytest.warns(DistesNotice), pytest.raises(ConfigurationError, match=sentence):
        pretrained.folder_of(str(gguf[0]))
    assert not list((gguf[0].parent / "cache" / "distes").iterdir())


def test_commands_print_a_notice_without_the_word_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        warnings.warn("Converting.", DistesNotice, stacklevel=1)
        warnings.warn("Look out.", DistesWarning, stacklevel=1)
    assert capsys.readouterr().err == "Converting.\nwarning: Look out.\n"


def test_transformers_shows_no_progress_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    policy = CausalLM("tests.support.word_models.model")
    _ = policy.tokenizer
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before == (before[0], True)


def test_who_asks_for_remarks_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.utils import logging

    with pretrained.quietly():
        assert logging.get_verbosity() == logging.ERROR and not logging.is_progress_bar_enabled()
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    before = logging.get_verbosity()
    with pretrained.quietly():
        assert logging.get_verbosity() == before and not logging.is_progress_bar_enabled()


def test_workers_receive_the_structure_without_the_numbers() -> None:
    policy = CausalLM(words())
    skeleton = policy.skeleton()
    assert all(one.is_meta for one in skeleton.parameters()) and not any(one.is_meta for one in policy.parameters())
    assert len(pickle.dumps(skeleton)) < 0.5 * 4 * Layout(policy).size
    tied = dict(skeleton.named_parameters(remove_duplicate=False))
    assert tied["model.lm_head.weight"] is tied["model.model.embed_tokens.weight"]
    shapes = [(name, one.shape) for name, one in skeleton.named_parameters()]
    assert shapes == [(name, one.shape) for name, one in policy.named_parameters()]
    again = copy.deepcopy(policy)
    assert torch.equal(again(torch.tensor([[3, 4]])), policy(torch.tensor([[3, 4]])))


def test_prompts_of_the_helper_are_known_words() -> None:
    assert all(set(row["prompt"].split()) <= set(word_models.WORDS) for row in word_models.prompts())
