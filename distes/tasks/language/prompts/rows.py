"""One prompt as a mapping of JSON values, and where prompts come from: a JSON Lines file, or a function."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from distes.errors import ConfigurationError, raised
from distes.errors.imports import import_object
from distes.errors.trust import foreign
from distes.tasks.arguments import name_of
from distes.tasks.language.prompts.files import read_bytes

Row = dict[str, Any]
Source = str | Callable[..., Any] | Sequence[Mapping[str, Any]]
EXAMPLE = '{"prompt": "What is 2 + 3?", "target": 5}'
LONGEST_EXCERPT = 80  # characters
FORMS = "`prompt`, a text, or `messages`, a list of chat messages"


def is_file(source: str) -> bool:
    """Whether a text names a file, and not an import path."""
    return "/" in source or source.endswith((".jsonl", ".json", ".ndjson", ".txt", ".csv")) or "." not in source


def announce(name: str, source: Source, arguments: Mapping[str, Any]) -> None:
    """Says that code outside distes is to be imported, where a source is an import path.

    Args:
        name: The argument of the task.
        source: Its value.
        arguments: What it is to be called with.

    Raises:
        ConfigurationError: The configuration is not trusted, or the arguments are for something that is not called.
    """
    if isinstance(source, str) and not is_file(source):
        foreign(source, f"task.{name}")
    elif arguments and not callable(source):
        raise ConfigurationError(
            f"{name} {shown(source)} is not called, and takes no arguments; got {', '.join(arguments)}.", argument=name
        )


def rows_of(name: str, source: Source, arguments: Mapping[str, Any]) -> list[Row]:
    """Reads prompts, or has a function make them.

    Args:
        name: The argument of the task, with which messages begin.
        source: A `.jsonl` file; a function or its import path; or the prompts themselves.
        arguments: Arguments of the function.

    Raises:
        ConfigurationError: They cannot be read or made, or one of them is no prompt. The message names it.
    """
    if isinstance(source, str) and is_file(source):
        rows = list(_read(name, source))
    else:
        rows = [_checked(given, name, where) for where, given in _made(name, source, arguments)]
    if not rows:
        raise ConfigurationError(f"{name} {shown(source)} has no prompts.", argument=name)
    return rows


def text_of(row: Mapping[str, Any]) -> str:
    """Returns what tells a prompt from others: its text, or its messages."""
    return json.dumps([row.get("prompt"), row.get("messages")], sort_keys=True)


def excerpt(row: Mapping[str, Any]) -> str:
    """Returns the beginning of a prompt, in quotes, for messages."""
    text = row["prompt"] if "prompt" in row else row["messages"][-1]["content"]
    return repr(text if len(text) <= LONGEST_EXCERPT else f"{text[:LONGEST_EXCERPT]}...")


def shown(source: Source) -> str:
    """Returns what a source is called in messages."""
    if isinstance(source, str):
        return repr(source)
    return f"{name_of(source)!r}" if callable(source) else "in Python"


def _read(name: str, source: str) -> Iterator[Row]:
    named = "/" in source or "." in source
    hint = "" if named else "A function is named by its import path, such as my_module.prompts."
    content = read_bytes(source, name, hint)
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            where = f"{source}, line {number}"
            yield _checked(_parsed(line, name, where), name, where)


def _parsed(line: bytes, name: str, where: str) -> Any:
    try:
        return json.loads(line.decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{name}: {where}, is not UTF-8: byte {error.object[error.start]:#04x} at place {error.start + 1}.",
            argument=name,
        ) from error
    except (ValueError, RecursionError) as error:
        first = line.strip()[:1]
        hint = f" A .jsonl file has one object per line, such as {EXAMPLE}."
        if first == b"[":
            hint = f" It looks like one JSON array: write each of its objects on a line of its own, such as {EXAMPLE}."
        raise ConfigurationError(f"{name}: {where}, is not JSON: {error}.{hint}", argument=name) from error


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"it has {text}, which is no number of JSON")


def _made(name: str, source: Source, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a function returns, each with its place."""
    called = shown(source)
    given: Any = import_object(f"task.{name}", source) if isinstance(source, str) else source
    if callable(given):
        try:
            given = given(**arguments)
            if isinstance(given, Iterable) and not isinstance(given, Mapping | str | bytes):
                given = list(given)
        except Exception as error:
            raise ConfigurationError(f"{name} {called} cannot be made: it {raised(error)}.", argument=name) from error
    if isinstance(given, Mapping | str | bytes) or not isinstance(given, Sequence):
        raise ConfigurationError(
            f"{name} {called} must be or return a sequence of prompts, mappings such as {EXAMPLE}; got "
            f"{_article(type(given).__name__)}.",
            argument=name,
        )
    for number, row in enumerate(given):
        yield f"{called}, prompt {number}", row


def _checked(given: Any, name: str, where: str) -> Row:
    """Returns a prompt as a mapping of JSON values.

    Raises:
        ConfigurationError: It is no prompt.
    """
    if not isinstance(given, Mapping):
        raise _error(name, where, f"must be an object such as {EXAMPLE}; got {_article(type(given).__name__)}")
    row: Row = _json(given, name, where, "")
    if ("prompt" in row) == ("messages" in row):
        has = "has both" if "prompt" in row else f"has neither, but {', '.join(row) or 'nothing'}"
        raise _error(name, where, f"must have either {FORMS}; it {has}")
    if "prompt" in row:
        _check_text(row["prompt"], name, where, "`prompt`")
    else:
        _check_messages(row["messages"], name, where)
    return row


def _check_messages(messages: Any, name: str, where: str) -> None:
    if not isinstance(messages, list) or not messages:
        got = "an empty list" if messages == [] else _article(type(messages).__name__)
        raise _error(name, where, f"must have in `messages` a list of chat messages; got {got}")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            raise _error(
                name, where, f"must have in `messages` objects with `role` and `content`; number {number} is not"
            )
        _check_text(message["role"], name, where, f"the role of message {number}")
        _check_text(message["content"], name, where, f"the content of message {number}")
    if messages[-1]["role"] == "assistant":
        raise _error(name, where, "must end with a message that is to be answered; its last one is the assistant's")


def _check_text(text: Any, name: str, where: str, what: str) -> None:
    if not isinstance(text, str):
        raise _error(name, where, f"must have a text as {what}; got {_article(type(text).__name__)}")
    if not text.strip():
        raise _error(name, where, f"must have a text as {what}; it is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(name, where, f"has half of a surrogate pair in {what}, which is no text") from error


def _json(value: Any, name: str, where: str, key: str) -> Any:
    """A value of JSON types, with tuples as lists."""
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        for one in value:
            if not isinstance(one, str):
                raise _error(name, where, f"must have texts as keys; got {one!r}{key and f' in {key}'}")
        return {one: _json(item, name, where, f"{key}.{one}".lstrip(".")) for one, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json(item, name, where, f"{key}[{number}]") for number, item in enumerate(value)]
    got = repr(value) if isinstance(value, float) else _article(type(value).__name__)
    raise _error(
        name,
        where,
        f"must have in {key} what JSON can hold (texts, finite numbers, true, null, lists, mappings); got {got}",
    )


def _error(name: str, where: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"{name}: {where}, {what}.", argument=name)


def _article(noun: str) -> str:
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
