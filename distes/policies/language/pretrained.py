"""Language models on disk: folders as `save_pretrained` of transformers writes them, and single GGUF files.

Nothing here looks anything up in the network.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import io
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from distes.errors import ConfigurationError, DistesNotice, raised
from distes.errors.imports import import_object
from distes.errors.installation import install
from distes.errors.trust import foreign

CACHE = "XDG_CACHE_HOME"
FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model"),
)
ORIGINS = ("transformers_version", "_name_or_path", "dtype", "torch_dtype", "name_or_path")


def transformers() -> Any:
    """Returns the library.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigurationError(
            f"policy CausalLM needs transformers, which cannot be imported ({error}): {install('llm')}."
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hides the progress bars of transformers, and its remarks unless TRANSFORMERS_VERBOSITY asks for them."""
    logs = transformers().utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    if "TRANSFORMERS_VERBOSITY" not in os.environ:
        logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def cache_folder(name: str) -> Path:
    """Returns where distes keeps what it has made of other files: below $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache") / "distes" / name


@lru_cache(maxsize=8)
def folder_of(path: str) -> Path:
    """Returns the folder of a model: `path` itself, that of a converted GGUF file, or what a function returns.

    Args:
        path: A folder, a GGUF file, or the import path of a function without arguments that returns a folder, which it
            makes where it is missing.

    Raises:
        ConfigurationError: There is no such folder, file or function, or the file cannot be converted.
    """
    found = Path(path).expanduser()
    if found.is_dir():
        if not (found / "config.json").is_file():
            raise ConfigurationError(
                f"path {path} is a folder without config.json: give the folder that save_pretrained of transformers "
                "has written.",
                argument="path",
            )
        return found
    if found.is_file():
        if found.suffix != ".gguf":
            raise ConfigurationError(
                f"path must be a folder of save_pretrained, or a file .gguf; got the file {path}.", argument="path"
            )
        return _converted(found)
    module = path.rpartition(".")[0]
    if os.sep in path or not module or not all(part.isidentifier() for part in path.split(".")):
        raise ConfigurationError(
            f"path: there is no folder or GGUF file {path}. Nothing is downloaded: give a folder that save_pretrained "
            "of transformers has written. A run keeps weights alone: to be resumed, evaluated or exported it needs the "
            "folder that it was trained from. Put it back there, or a link to it.",
            argument="path",
        )
    foreign(path, "policy.path")
    make = import_object("policy.path", path)
    try:
        with quietly():
            made = Path(make())
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(f"path: {path}() {raised(error)}.", argument="path") from error
    if not (made / "config.json").is_file():
        raise ConfigurationError(f"path: {path}() returned {made}, which is no folder of a model.", argument="path")
    return made


def model(path: str, attention: str) -> Any:
    """Loads a model with its weights, float32, on the CPU.

    Args:
        path: As `folder_of` takes it.
        attention: The implementation of attention, `sdpa` or `eager`.

    Raises:
        ConfigurationError: transformers cannot load it.
    """
    library, folder = transformers(), folder_of(path)
    try:
        with quietly():
            loaded = library.AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, attn_implementation=attention, local_files_only=True
            )
    except Exception as error:
        raise ConfigurationError(
            f"path {path}: transformers {library.__version__} cannot load a causal language model from {folder}: it "
            f"{raised(error)}.",
            argument="path",
        ) from error
    loaded.eval()
    _forget_gguf(loaded)
    return loaded


def _forget_gguf(model: Any) -> None:
    """Removes what says that a model comes from a GGUF file: its numbers are plain ones, and it can be saved."""
    quantization = getattr(model.config, "quantization_config", None)
    named = quantization if isinstance(quantization, dict) else getattr(quantization, "__dict__", {})
    method = named.get("quant_method")
    if str(getattr(method, "value", method)) == "gguf":
        del model.config.quantization_config
        model.hf_quantizer = None


def digests(path: str) -> dict[str, str]:
    """Returns what a model computes and reads by beside its weights: a digest by file name, `absent` for none.

    What says which version of transformers wrote a file, or where it came from, does not count.

    Args:
        path: As `folder_of` takes it.
    """
    folder = folder_of(path)
    return {name: _digest(folder / name) for name in FILES}


def _digest(file: Path) -> str:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return "absent"
    if file.suffix == ".json":
        with contextlib.suppress(ValueError):
            found = json.loads(content)
            if isinstance(found, dict):
                known = {key: value for key, value in found.items() if key not in ORIGINS}
                content = json.dumps(known, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


@lru_cache(maxsize=2)
def tokenizer(path: str) -> Any:
    """Loads a model's tokenizer. Prompts are padded on the left, so that answers begin at one place.

    Raises:
        ConfigurationError: There is none.
    """
    library, folder = transformers(), folder_of(path)
    try:
        with quietly():
            loaded = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise ConfigurationError(
            f"policy.path {path}: the folder {folder} has no tokenizer that transformers can load: it {raised(error)}. "
            "Write it with tokenizer.save_pretrained."
        ) from error
    files = {"tokenizer.json", *getattr(loaded, "vocab_files_names", {}).values()}
    if not any((folder / name).is_file() for name in files):  # transformers makes an empty one
        raise ConfigurationError(
            f"policy.path {path}: the folder {folder} has no tokenizer: none of {', '.join(sorted(files))} is there. "
            "Write it with tokenizer.save_pretrained."
        )
    return loaded


def _converted(file: Path) -> Path:
    """Converts a GGUF file once, to float32, and returns the folder; the name tells the file's bytes apart."""
    status = file.stat()
    key = json.dumps([str(file.resolve()), status.st_size, status.st_mtime_ns])
    target = cache_folder(f"{file.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}")
    if (target / "config.json").is_file():
        return target
    library = transformers()
    for package in ("gguf", "accelerate"):  # transformers refuses the file without them, with a longer message
        if importlib.util.find_spec(package) is None:
            raise ConfigurationError(
                f"path {file}: to read a GGUF file transformers needs {package}: pip install gguf accelerate.",
                argument="path",
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    warnings.warn(f"Converting {file} once, into {target}: this may take minutes.", DistesNotice, stacklevel=2)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        try:
            with quietly(), contextlib.redirect_stderr(io.StringIO()):  # the reader has a progress bar of its own
                read = library.AutoModelForCausalLM.from_pretrained(
                    file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True
                )
                words = library.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
                plain = type(read)(read.config)  # as loaded, it refuses to be saved
                plain.load_state_dict(read.state_dict())
                words.save_pretrained(made)
                plain.save_pretrained(made)
        except Exception as error:
            raise ConfigurationError(
                f"path {file}: transformers cannot convert this GGUF file: it {raised(error)}.", argument="path"
            ) from error
        try:
            Path(made).rename(target)
        except OSError:
            if not (target / "config.json").is_file():  # another process was faster
                raise
    return target
