"""Text that a model's perplexity is measured on: read from a file, or that of prompts, and cut into pieces of tokens.

The perplexity of text that training never rewards says what training costs the model elsewhere.

Axes: T tokens of a piece.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distes.errors import ConfigurationError
from distes.tasks.language.prompts.files import read_bytes
from distes.tasks.mini_batches import permutation

Ids = NDArray[np.int64]
CHARACTERS = 16  # of a block of text that is tokenised at once, per token of a piece; a token has some four
ORDER = 0  # seed of the order in which blocks are taken
EXAMPLE = '{"text": "Once upon a time ..."}'


def read_texts(path: str, argument: str = "perplexity_text") -> list[str]:
    """Reads a file of text: one text, or a `.jsonl` file with a `text` in each row.

    Args:
        path: The file; relative to the working directory, with `~` for the home directory.
        argument: The argument of the task that names it, with which messages begin.

    Raises:
        ConfigurationError: It cannot be read, or has no text.
    """
    start = f"{argument} {path!r}"
    try:
        content = read_bytes(path, argument).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{start} is not UTF-8: byte {error.object[error.start]:#04x} at place {error.start + 1}.",
            argument=argument,
        ) from error
    texts = list(_of_rows(content, path, argument)) if path.endswith(".jsonl") else [content]
    if not any(text.strip() for text in texts):
        raise ConfigurationError(f"{start} has no text.", argument=argument)
    return texts


def _of_rows(content: str, path: str, argument: str) -> Iterator[str]:
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{argument}: {path}, line {number}, is not JSON: {error}.", argument) from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise ConfigurationError(
                f"{argument}: {path}, line {number}, must be an object with a text as `text`, such as {EXAMPLE}.",
                argument,
            )
        yield row["text"]


def text_of_prompt(row: Mapping[str, Any]) -> str:
    """Returns the text of a prompt, or of all its messages, without a chat template."""
    return row["prompt"] if "prompt" in row else "\n\n".join(message["content"] for message in row["messages"])


def pieces(
    texts: Sequence[str],
    tokenize: Callable[[str], Sequence[int]],
    length: int,
    *,
    most: int | None = None,
    start: int | None = None,
) -> list[Ids]:
    """Cuts texts into pieces of tokens; each is to be given to the model by itself. Always returns the same ones.

    Long texts are cut between words into blocks, which are tokenised one by one, in random order where not all are
    needed. The tokens of a block are cut into pieces of about equal length.

    Args:
        texts: The texts.
        tokenize: Returns the tokens of a text, without special ones.
        length: The largest T, that of `start` included.
        most: The most tokens of all pieces together; None for all texts.
        start: A token that each piece begins with, so that its first token is predicted, too; None for none.

    Returns:
        The pieces, each (T,) int64, of at least two tokens.

    Raises:
        ValueError: `length` is below 2, or `most` is below `length`.
    """
    if length < 2 or (most is not None and most < length):
        raise ValueError(f"length must be from 2 to most; got {length}, and {most}.")
    first = [] if start is None else [start]
    blocks = [block for text in texts for block in _blocks(text, CHARACTERS * length)]
    if most is not None:
        blocks = [blocks[place] for place in permutation(ORDER, len(blocks)).tolist()]
    made, left = list[Ids](), most
    for block in blocks:
        for ids in _evenly(np.array(tokenize(block), np.int64), length - len(first)):
            piece: Ids = np.concatenate([np.array(first, np.int64), ids])
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if len(piece) > 1:
                made.append(piece)
        if left is not None and left < 2:
            break
    return made


def _blocks(text: str, size: int) -> Iterator[str]:
    """A text in parts of at most `size` characters, each but the first with the space before its first word.

    Some tokenisers count a space as part of the word after it: they see the same words here as in the whole text.
    """
    begun = 0
    while len(text) - begun > size:
        half = begun + size // 2
        gaps = [half + gap.start() for gap in re.finditer(r"\s", text[half : begun + size])]
        end = gaps[-1] if gaps else begun + size
        yield text[begun:end]
        begun = end
    if text[begun:].strip():
        yield text[begun:]


def _evenly(ids: Ids, length: int) -> list[Ids]:
    """Tokens in as few parts of at most `length` as possible, of about equal length."""
    return np.array_split(ids, -(-len(ids) // length)) if len(ids) else []
