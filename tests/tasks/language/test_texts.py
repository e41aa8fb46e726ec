"""Held-out text: files are checked, and pieces hold each token once, in order, as the whole text would give them."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distes.errors import ConfigurationError
from distes.tasks.language.prompts.texts import pieces, read_texts, text_of_prompt


def words(text: str) -> list[int]:
    """Words with the space before them, as byte-pair tokenisers have them; a token is the word's length."""
    return [len(word) for word in re.findall(r"\s?\S+|\s", text)]


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


TEXT = " ".join("abcdefghij"[: 1 + n % 7] for n in range(5000))


class TestFiles:
    def test_plain_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.txt").write_bytes("\ufeffé one\n\ntwo\n".encode())
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("a.txt", "~/a.txt", str(tmp_path / "a.txt")):
            assert read_texts(name) == ["é one\n\ntwo\n"]

    def test_rows(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text('{"text": "one", "n": 1}\n\n{"text": "two"}\n')
        assert read_texts(str(tmp_path / "a.jsonl")) == ["one", "two"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("b.txt", b"x", "a.txt' cannot be read: No such file or directory. Did you mean 'b.txt'?"),
            ("a.txt", b" \n", "a.txt' has no text."),
            ("a.txt", b"ab\xff", "a.txt' is not UTF-8: byte 0xff at place 3."),
            ("a.jsonl", b'{"text": "a"}\n{"text"', "a.jsonl, line 2, is not JSON: Expecting ':' delimiter"),
            ("a.jsonl", b'\n{"prompt": "a"}', "a.jsonl, line 2, must be an object with a text as `text`, such as"),
            ("a.jsonl", b'["a"]', "a.jsonl, line 1, must be an object with a text as `text`"),
            ("a.jsonl", b'{"text": " "}', "a.jsonl' has no text."),
        ],
    )
    def test_refusals(self, name: str, content: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(content)
        asked = "a.txt" if name == "b.txt" else name
        with pytest.raises(ConfigurationError, match=f"^perplexity_text.*{re.escape(message)}") as caught:
            read_texts(str(tmp_path / asked))
        assert caught.value.argument == "perplexity_text"

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"cannot be read: Is a directory\."):
            read_texts(str(tmp_path))


def test_texts_of_prompts() -> None:
    chat = {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]}
    assert [text_of_prompt(row) for row in ({"prompt": "a b", "n": 1}, chat)] == ["a b", "Be short.\n\nWhy?"]


class TestPieces:
    @pytest.mark.parametrize("length", [2, 7, 64, 10_000])
    def test_hold_each_token_once_and_in_order(self, length: int) -> None:
        made = pieces([TEXT], words, length)
        lengths = [len(piece) for piece in made]
        assert max(lengths) <= length and all(piece.dtype == np.int64 for piece in made)
        whole = words(TEXT)
        lost = len(whole) - sum(lengths)  # pieces of a single token predict nothing
        assert lost == 0 if length > 2 else lost < len(whole) / 5
        if length > 2:
            assert list(itertools.chain.from_iterable(piece.tolist() for piece in made)) == whole
            assert min(lengths) >= length // 2 or len(made) == 1

    @given(text=st.text(alphabet="ab \n", max_size=200), length=st.integers(2, 5))
    @settings(max_examples=200, deadline=None)
    def test_whatever_the_text(self, text: str, length: int) -> None:
        made = pieces([text], letters, length)
        assert all(2 <= len(piece) <= length for piece in made)
        found = "".join(chr(letter) for piece in made for letter in piece)
        kept = iter(text)
        assert all(letter in kept for letter in found)  # in order

    def test_a_word_longer_than_a_block(self) -> None:
        made = pieces(["x" * 1000], letters, 10)
        assert sum(len(piece) for piece in made) == 1000

    def test_begin_with_a_token_if_asked(self) -> None:
        made = pieces([TEXT], words, 32, start=99)
        assert all(piece[0] == 99 and len(piece) <= 32 for piece in made)
        assert list(itertools.chain.from_iterable(piece[1:].tolist() for piece in made)) == words(TEXT)

    def test_single_tokens_are_predicted_only_after_a_start(self) -> None:
        assert [piece.tolist() for piece in pieces(["ab", "abc abc"], words, 8)] == [[3, 4]]
        assert [piece.tolist() for piece in pieces(["ab", "abc abc"], words, 8, start=0)] == [[0, 2], [0, 3, 4]]

    def test_a_part_is_a_fair_sample_and_always_the_same(self) -> None:
        texts = [f"{n} {n} {n}" for n in range(1000)]
        made, again = (pieces(texts, lambda text: [int(n) for n in text.split()], 4, most=300) for _ in range(2))
        assert [piece.tolist() for piece in made] == [piece.tolist() for piece in again]
        assert sum(len(piece) for piece in made) == 300
        assert 400 < np.concatenate(made).mean() < 600 and len({int(piece[0]) for piece in made}) == 100

    def test_no_more_is_tokenised_than_needed(self) -> None:
        calls = []

        def counting(text: str) -> list[int]:
            calls.append(len(text))
            return words(text)

        pieces([TEXT * 100], counting, 16, most=64)
        assert sum(calls) < 2000

    @pytest.mark.parametrize(("length", "most"), [(1, None), (8, 7)])
    def test_lengths_that_make_no_sense(self, length: int, most: int | None) -> None:
        with pytest.raises(ValueError, match=f"length must be from 2 to most; got {length}, and {most}"):
            pieces([TEXT], words, length, most=most)
