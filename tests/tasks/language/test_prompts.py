"""Prompts: rows are checked by name and line, parts share no text, draws are functions of a generation's seed."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distes.errors import ConfigurationError
from distes.errors.trust import only_own, recorded
from distes.population import Purpose
from distes.tasks.language.prompts.prompts import Prompts
from tests.support.prompts import sums

SUMS = "tests.support.prompts.sums"


def written(path: Path, *rows: Any) -> str:
    """A file of rows: texts as they are, others as JSON."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


def texts(prompts: Prompts, purpose: Purpose) -> list[str]:
    return [row["prompt"] for row in prompts.part(purpose)]


def refused(source: Any, message: str, **arguments: Any) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        Prompts(source, **arguments).part(Purpose.TRAIN)
    assert caught.value.argument is not None and str(caught.value).startswith(caught.value.argument)


class TestReading:
    def test_a_file_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 3?"}]}
        rows = [{"prompt": "1 + 1 =", "target": {"any": [1, 2.5, None, True, "é"]}}, "", chat, {"prompt": "x", "n": 1}]
        made = Prompts(written(tmp_path / "a.jsonl", *rows), test=0.3, validation=0)
        everything = [*made.part(Purpose.TRAIN), *made.part(Purpose.TEST)]
        assert len(made) == 3 and sorted(map(json.dumps, everything)) == sorted(json.dumps(row) for row in rows if row)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("a.jsonl", "~/a.jsonl"):
            assert Prompts(name).digest == made.digest

    def test_with_a_byte_order_mark_and_windows_lines(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}\r\n')
        assert len(Prompts(str(tmp_path / "a.jsonl"), validation=0)) == 2

    @pytest.mark.parametrize("source", [SUMS, sums, sums(50), "tests.support.prompts.LIST"])
    def test_a_function_and_what_it_is_named_by(self, source: Any) -> None:
        made = Prompts(source)
        assert len(made) in (20, 50) and made.part(Purpose.TEST)[0].keys() == {"prompt", "target", "numbers"}

    def test_arguments_go_to_the_function(self) -> None:
        made = Prompts(SUMS, {"count": 30, "first": 100}, validation=0, test=0.5)
        assert sorted(texts(made, Purpose.TRAIN) + texts(made, Purpose.TEST)) == sorted(
            f"{n} + 1 =" for n in range(100, 130)
        )

    def test_rows_belong_to_the_prompts_alone(self) -> None:
        given = [{"prompt": "a", "numbers": (1, [2])}, {"prompt": "b"}]
        made = Prompts(given, validation=0, test=0.5)
        before = made.digest
        given[0]["numbers"] = ()
        rows = {row["prompt"]: row for purpose in (Purpose.TRAIN, Purpose.TEST) for row in made.part(purpose)}
        assert rows["a"]["numbers"] == [1, [2]] and made.digest == before  # a tuple is a list, as in a file

    def test_they_travel_once_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        made = Prompts(written(path, *sums()))
        made.part(Purpose.TRAIN)
        path.unlink()
        there = pickle.loads(pickle.dumps(made))
        assert all(there.part(purpose) == made.part(purpose) for purpose in Purpose) and there.digest == made.digest
        live = Prompts(lambda: sums())
        assert live.digest == made.digest
        assert pickle.loads(pickle.dumps(live)).part(Purpose.TEST) == live.part(Purpose.TEST)

    def test_the_digest_is_of_all_rows_and_their_order(self) -> None:
        rows = sums(10)
        digests = [
            Prompts(rows).digest,
            Prompts(rows[::-1]).digest,
            Prompts([*rows[:-1], {**rows[-1], "target": 0}]).digest,
            Prompts(rows[:-1], test_prompts=rows[-1:]).digest,
            Prompts(rows[:-1]).digest,
        ]
        assert len(set(digests)) == 5
        assert Prompts([dict(reversed(row.items())) for row in rows]).digest == digests[0]  # keys have no order


class TestRefusals:
    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ('{"prompt": "a"', "line 2, is not JSON: Expecting ',' delimiter"),
            ('{"prompt": "a"', 'A .jsonl file has one object per line, such as {"prompt": "What is 2 + 3?"'),
            (
                '[{"prompt": "a"},',
                "line 2, is not JSON: Expecting value: line 1 column 18 (char 17). It looks like one",
            ),
            ('{"prompt": "a", "n": NaN}', "line 2, is not JSON: it has NaN, which is no number of JSON"),
            ("[" * 100_000, "line 2, is not JSON: "),
            (["a"], "line 2, must be an object such as"),
            ('"a text"', "got a str."),
            ({"question": "a", "n": 1}, "must have either `prompt`, a text, or `messages`, a list of chat messages"),
            ({"question": "a", "n": 1}, "it has neither, but question, n."),
            ({}, "it has neither, but nothing."),
            ({"prompt": "a", "messages": []}, "it has both."),
            ({"prompt": " \n"}, "must have a text as `prompt`; it is empty."),
            ({"prompt": 3}, "must have a text as `prompt`; got an int."),
            ({"prompt": None}, "must have a text as `prompt`; got a NoneType."),
            ({"prompt": "a\ud800"}, "has half of a surrogate pair in `prompt`, which is no text."),
            ({"messages": []}, "must have in `messages` a list of chat messages; got an empty list."),
            ({"messages": "hello"}, "must have in `messages` a list of chat messages; got a str."),
            ({"messages": ["hello"]}, "objects with `role` and `content`; number 0 is not."),
            ({"messages": [{"role": "user"}]}, "objects with `role` and `content`; number 0 is not."),
            ({"messages": [{"role": "user", "content": ["a"]}]}, "a text as the content of message 0; got a list."),
            ({"messages": [{"role": "", "content": "a"}]}, "a text as the role of message 0; it is empty."),
            (
                {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
                "must end with a message that is to be answered; its last one is the assistant's.",
            ),
        ],
    )
    def test_a_line(self, row: Any, message: str, tmp_path: Path) -> None:
        refused(written(tmp_path / "a.jsonl", {"prompt": "good"}, row), message)

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_bytes(b'{"prompt": "a"}\n\n{"prompt": "\xff"}')
        refused(str(tmp_path / "a.jsonl"), "line 3, is not UTF-8: byte 0xff at place 13.")

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("text", "in Python, prompt 1, must be an object such as"),
            ({"prompt": "a", "n": {"deep": [float("inf")]}}, "must have in n.deep[0] what JSON can hold"),
            ({"prompt": "a", "n": {"deep": [float("inf")]}}, "got inf."),
            ({"prompt": "a", "n": np.int64(3)}, "must have in n what JSON can hold (texts, finite numbers, true, null"),
            ({"prompt": "a", "n": np.int64(3)}, "got an int64."),
            ({"prompt": "a", "n": {3: "x"}}, "must have texts as keys; got 3 in n."),
        ],
    )
    def test_a_row_of_python(self, row: Any, message: str) -> None:
        refused([{"prompt": "good"}, row], message)

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("nowhere.jsonl", "prompts 'nowhere.jsonl' cannot be read: No such file or directory in /"),
            ("/nowhere/a.jsonl", "prompts '/nowhere/a.jsonl' cannot be read: No such file or directory."),
            ("sums", "A function is named by its import path, such as my_module.prompts."),
            ("tests/", "prompts 'tests/' cannot be read: Is a directory."),
            ("no_module.prompts", "prompts 'no_module.prompts' cannot be imported: there is no module 'no_module'."),
            ("tests.support.prompts.sum", "has no 'sum'. Did you mean 'sums'?"),
            (
                "tests.support.prompts.broken",
                "cannot be made: it raised KeyError: 'no such data' (tests/support/prompts",
            ),
            ("tests.support.prompts.number", "must be or return a sequence of prompts, mappings such as"),
            ("tests.support.prompts.number", "got an int."),
            ("tests.support.prompts.nothing", "prompts 'tests.support.prompts.nothing' has no prompts."),
            ({"prompt": "a"}, "prompts in Python must be or return a sequence of prompts"),
            ([], "prompts in Python has no prompts."),
        ],
    )
    def test_a_source(self, source: Any, message: str) -> None:
        refused(source, message)

    def test_a_misspelt_file(self, tmp_path: Path) -> None:
        written(tmp_path / "train.jsonl", *sums())
        refused(str(tmp_path / "trian.jsonl"), "No such file or directory. Did you mean 'train.jsonl'?")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        refused(written(tmp_path / "a.jsonl", "", ""), "has no prompts.")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"validation": 1.0}, "validation must be a share from 0 to below 1; got 1.0."),
            ({"test": -0.1}, "test must be a share from 0 to below 1; got -0.1."),
            ({"split": -1}, "split must be from 0 to 2**64 - 1; got -1."),
            ({"eval_prompts": 0}, "eval_prompts must be at least 1, or null for all; got 0."),
            ({"test": 0}, "has 50 different prompts, of which none is left for the test part: choose other shares"),
            ({"test": 0.5, "validation": 0.99}, "none is left for the training part"),
            ({"test_prompts": "a.jsonl", "test_args": {"n": 1}}, "test_prompts 'a.jsonl' is not called, and takes no"),
            ({"test_prompts": "nowhere.jsonl"}, "test_prompts 'nowhere.jsonl' cannot be read"),
            ({"prompts_args": {"cuont": 3}}, "cannot be made: it raised TypeError: sums() got an unexpected keyword"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        if message.startswith(("has", "none", "cannot")):
            with pytest.raises(ConfigurationError, match=re.escape(message)):
                Prompts(SUMS, **arguments).part(Purpose.TRAIN)
        else:
            refused(SUMS, message, **arguments)

    def test_arguments_of_a_file(self) -> None:
        refused("a.jsonl", "prompts 'a.jsonl' is not called, and takes no arguments; got n.", prompts_args={"n": 1})

    def test_test_prompts_that_are_trained_on(self) -> None:
        both = [{"prompt": "0 + 1 =", "target": 99}, {"prompt": "new"}, {"prompt": "7 + 1 ="}]
        refused(
            SUMS,
            "test_prompts: 2 of 3 prompts are among the training prompts, too, and would not be held out; the first "
            "is '0 + 1 ='. Remove them from one of both.",
            test_prompts=both,
        )

    @pytest.mark.parametrize("arguments", [{"prompts": SUMS}, {"prompts": "a.jsonl", "test_prompts": SUMS}])
    def test_code_of_a_configuration_that_is_not_trusted(self, arguments: dict[str, str]) -> None:
        with (
            only_own("config.yaml"),
            pytest.raises(ConfigurationError, match=r"prompts\.sums' as its task"),
        ):
            Prompts(**arguments)

    def test_a_file_needs_no_trust(self, tmp_path: Path) -> None:
        with only_own("config.yaml"), recorded() as found:
            assert len(Prompts(written(tmp_path / "a.jsonl", *sums()))) == 50
        assert found == []


class TestParts:
    def test_shares(self) -> None:
        made = Prompts(SUMS)
        parts = [set(texts(made, purpose)) for purpose in Purpose]
        assert [len(part) for part in parts] == [36, 4, 10] and len(set.union(*parts)) == 50

    def test_splits_are_functions_of_their_seed(self) -> None:
        parts = [[texts(Prompts(SUMS, split=split), purpose) for purpose in Purpose] for split in (0, 0, 1)]
        assert parts[0] == parts[1] and all(a != b for a, b in zip(parts[0], parts[2], strict=True))

    def test_rows_with_one_text_stay_together(self) -> None:
        rows = [{**row, "copy": copy} for copy in range(3) for row in sums(20)]
        made = Prompts(rows, test=0.25, validation=0.2)
        parts = [texts(made, purpose) for purpose in Purpose]
        assert [len(part) for part in parts] == [36, 9, 15]
        assert sum(len(set(part)) for part in parts) == 20
        unique = [set(texts(Prompts(sums(20), test=0.25, validation=0.2), purpose)) for purpose in Purpose]
        assert [set(part) for part in parts] == unique

    def test_chats_with_one_text_stay_together(self) -> None:
        rows = [{"messages": [{"role": "user", "content": str(n % 5)}], "n": n} for n in range(10)]
        made = Prompts(rows, test=0.2, validation=0)
        assert [row["n"] % 5 for row in made.part(Purpose.TEST)] == [made.part(Purpose.TEST)[0]["n"]] * 2

    def test_without_a_validation_part_all_training_prompts_validate(self) -> None:
        made = Prompts(SUMS, validation=0)
        assert made.part(Purpose.VALIDATE) == made.part(Purpose.TRAIN) and len(made.part(Purpose.TRAIN)) == 40

    def test_test_prompts_of_their_own_are_used_whole(self, tmp_path: Path) -> None:
        there = written(tmp_path / "test.jsonl", *sums(7, 1000))
        for made in (
            Prompts(SUMS, test_prompts=there),
            Prompts(SUMS, {"first": 0}, test_args={"first": 1000, "count": 7}),
            Prompts(SUMS, test_prompts=SUMS, test_args={"first": 1000, "count": 7}),
        ):
            assert sorted(texts(made, Purpose.TEST)) == [f"{n} + 1 =" for n in range(1000, 1007)]
            assert len(made) == 57 and len(made.part(Purpose.TRAIN)) == 45

    def test_held_out_parts_may_be_cut(self) -> None:
        whole, cut, less = (Prompts(SUMS, test=0.5, validation=0.5, eval_prompts=most) for most in (None, 8, 3))
        for purpose in (Purpose.VALIDATE, Purpose.TEST):
            assert texts(cut, purpose) == texts(whole, purpose)[:8]
            assert texts(less, purpose) == texts(cut, purpose)[:3]
        assert cut.part(Purpose.TRAIN) == whole.part(Purpose.TRAIN)

    def test_a_cut_is_a_fair_sample_of_a_test_file(self) -> None:
        made = Prompts(SUMS, test_prompts=sums(100, 1000), eval_prompts=30)
        assert max(int(text.split()[0]) for text in texts(made, Purpose.TEST)) > 1060
