"""Exports a saved language model as a folder that transformers loads. It is read back before it counts as done."""

import contextlib
import copy
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from distes.api.saved.language_model import LanguageModel
from distes.errors import ConfigurationError, raised
from distes.policies.language import pretrained, tied
from distes.runs import atomic_files
from distes.runs.monitors.wording import number

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
CARD = "README.md"


class Exported(NamedTuple):
    """What was written.

    Attributes:
        name: The class of the model.
        parameters: Its parameters; a weight that two layers share counts once.
        dtype: Their dtype in the folder.
        size: Bytes of all files.
    """

    name: str
    parameters: int
    dtype: Dtype
    size: int


def export_transformers(
    model: LanguageModel,
    folder: Path,
    *,
    dtype: Dtype = "float32",
    run_dir: str | os.PathLike[str] = "",
) -> Exported:
    """Writes a language model with its tokenizer, generation settings and a model card.

    The folder appears when everything is written and has been read back.

    Args:
        model: The language model.
        folder: A folder that does not exist yet, or is empty.
        dtype: Of the weights. Below float32 they are rounded, and answers may differ.
        run_dir: The run, for the model card.

    Raises:
        ConfigurationError: The folder holds something, or cannot be written.
    """
    if dtype not in DTYPES:
        raise ConfigurationError(f"dtype must be one of {', '.join(DTYPES)}; got {dtype!r}.")
    require_free(folder)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.absolute().parent))
    try:
        found = _write(model, part, dtype)
        (part / CARD).write_text(_card(model, dtype, Path(run_dir)))
        size = sum(file.stat().st_size for file in part.iterdir())
        _settle(part)
        part.rename(folder)  # in the place of an empty folder, too
        atomic_files.sync_directory(folder.absolute().parent)
    except OSError as error:
        raise ConfigurationError(
            f"transformers: {folder} cannot be written: {atomic_files.reason(error)}; nothing was written."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(type(found).__name__, sum(one.numel() for one in found.parameters()), dtype, size)


def require_free(folder: Path) -> None:
    """Checks that a folder can be made, or is empty.

    Raises:
        ConfigurationError: It holds something, or the folder around it is missing.
    """
    if folder.is_dir():
        if any(folder.iterdir()):
            raise ConfigurationError(f"transformers: {folder} is not empty: name a new folder.")
    elif os.path.lexists(folder):
        raise ConfigurationError(f"transformers: {folder} is a file: name a new folder.")
    elif not folder.absolute().parent.is_dir():
        raise ConfigurationError(f"transformers: there is no directory {folder.parent}.")


def _write(model: LanguageModel, part: Path, dtype: Dtype) -> Any:
    """Writes model and tokenizer, and returns the model as transformers reads it back.

    Raises:
        ConfigurationError: transformers cannot write the model, or reads other weights.
    """
    library = pretrained.transformers()
    kept = getattr(torch, dtype)
    written = model.model if dtype == "float32" else copy.deepcopy(model.model).to(kept)
    try:
        with pretrained.quietly():
            written.save_pretrained(part)
            model.tokenizer.save_pretrained(part)
            read = library.AutoModelForCausalLM.from_pretrained(part, dtype="auto", local_files_only=True)
            library.AutoTokenizer.from_pretrained(part, local_files_only=True)
    except OSError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"transformers {library.__version__} cannot write the model, or not read it back: it {raised(error)}."
        ) from error
    ours, theirs = dict(written.named_parameters()), dict(read.named_parameters())
    differing = [name for name in ours if name not in theirs or not torch.equal(ours[name], theirs[name])]
    differing += [name for name in theirs if name not in ours]
    if differing or tied.further_names(written) != tied.further_names(read):
        raise ConfigurationError(
            f"transformers {library.__version__} reads other weights from the folder than were written: "
            f"{', '.join(differing[:3]) or 'weights are tied otherwise'}; nothing was written."
        )
    return read


def _settle(part: Path) -> None:
    """Gives a temporary folder the permissions of others, and syncs its files to the disk."""
    mask = os.umask(0)
    os.umask(mask)
    part.chmod(0o777 & ~mask)
    for file in part.iterdir():
        file.chmod(0o666 & ~mask)  # some writers give them to their owner alone
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    atomic_files.sync_directory(part)


def _card(model: LanguageModel, dtype: Dtype, run_dir: Path) -> str:
    """A model card: where the weights come from, what they scored, how they are used as they were trained."""
    saved, task, answering = model.saved, model.task, model.task.answering
    scores = []
    if saved.eval_mean is not None:
        scores.append(f"mean reward on the validation part: {number(saved.eval_mean)}")
    if test := _test(run_dir, saved.generation):
        named = ", ".join(f"{name} {number(value)}" for name, value in test.items())
        scores.append(f"on the test part, which nothing was chosen by: {named}")
    decoded = "the most probable token (`do_sample=False`)"
    if answering.temperature > 0:
        decoded = f"drawn tokens (`do_sample=True, temperature={answering.temperature}, top_k=0, top_p=1.0`)"
    form = (
        "put into the chat template"
        if answering.chat_template
        else "texts as they are, chats put into the chat template"
    )
    if answering.system is not None:
        form += f", each chat after the system message {answering.system!r}"
    run = f"the run `{run_dir.resolve().name}`, " if run_dir.name else ""
    lines = [
        "---",
        "library_name: transformers",
        "tags: [evolution-strategies, distes]",
        "---",
        "",
        f"# {type(model.model).__name__}, fine-tuned by evolution strategies",
        "",
        f"Weights ({dtype}) of {run}generation {saved.generation:,}, trained with distes on the prompts "
        f"`{task.name}`, from `{Path(model.policy.path).name}`.",
        "",
        *(f"- {score[0].upper()}{score[1:]}." for score in scores),
        f"- Answers were {decoded} with `max_new_tokens={answering.max_new_tokens}`;",
        "  in float32, `generate` answers the same. Settings of `generation_config.json`, such as a repetition",
        "  penalty, were not used.",
        f"- Prompts were {form}.",
        "",
    ]
    return "\n".join(lines)


def _test(run_dir: Path, generation: int) -> dict[str, float]:
    """What the run's last evaluation on the test part came to, if it was of this generation; otherwise nothing."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        result = json.loads(atomic_files.read(run_dir / "result.json"))
        if result["generation"] == generation:
            return {str(name): float(value) for name, value in result["test"].items() if value is not None}
    return {}
