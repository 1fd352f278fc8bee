"""parse of any field and with patterns, unpack, lookup: what texts say, and what files say of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.log_steps import apply, by, chain, event

from millstream import UsageError
from millstream.logs.steps.lookup import Lookup
from millstream.logs.steps.lookup_file import read_known
from millstream.logs.steps.whole_file import REFRESH_US, WholeFile
from millstream.logs.where import column_of
from millstream.testing import FakeClock


def of_fields(fields: Iterable[dict[str, Any] | None], step: str) -> list[dict[str, Any] | None]:
    return [one.fields for one in apply([event("kept", fields=one) for one in fields], step)]


def test_a_field_is_parsed_as_a_line_and_the_message_stays_unless_it_says_another() -> None:
    payloads = ['{"msg": "inside", "level": "warn", "user": "ann", "n": 1}', "no json", None, {"n": 2, "level": "err"}]
    step = 'kind = "parse"\nformat = "json"\nfield = "fields.in.payload"'
    found = apply([event("kept", fields={"in": {"payload": one}}, user="bob") for one in payloads], step)
    assert [one.message for one in found] == ["inside", "kept", "kept", "kept"]
    assert [one.user for one in found] == ["ann", "bob", "bob", "bob"]
    assert [one.severity for one in found] == ["warning", None, None, "err"]
    assert [(one.fields or {}).get("n") for one in found] == [1, None, None, 2]
    assert all(one.fields and "in" in one.fields for one in found)


def test_a_field_is_parsed_by_a_pattern() -> None:
    step = 'kind = "parse"\npattern = \'%{IP:source_ip} took %{NUMBER:took:float} s\'\nfield = "fields.text"'
    found = apply([event("m", fields={"text": text}) for text in ("192.0.2.1 took 1.5 s", "nothing")], step)
    assert [(one.source_ip, one.message) for one in found] == [("192.0.2.1", "m"), (None, "m")]
    assert [one.fields for one in found] == [{"text": "192.0.2.1 took 1.5 s", "took": 1.5}, {"text": "nothing"}]


@pytest.mark.parametrize(
    ("format", "text", "wanted"),
    [
        ("json", '{"a": {"b": [1, null]}, "c": "é"}', {"a": {"b": [1, None]}, "c": "é"}),
        ("json", ' [1, {"a": 2}]', [1, {"a": 2}]),
        ("json", '{"a": 1', None),
        ("json", '"text"', None),
        ("json", "5", None),
        ("json", '{"a": 99999999999999999999}', None),
        ("json", "[" * 5000, None),
        ("pairs", 'a=1 b="x y" c', {"a": "1", "b": "x y", "c": "true"}),
        ("pairs", "a: 1, b: x y", {"a": "1", "b": "x y"}),
        ("pairs", "just a text", None),
        ("query", "/search?q=a+b&q=%C3%A9&empty=#top", {"q": ["a b", "é"], "empty": ""}),
        ("query", "a=1&b=2", {"a": "1", "b": "2"}),
        ("query", "/search", None),
        ("query", "&".join(["a=1"] * 1001), None),
    ],
)
def test_what_is_packed_takes_the_place_of_its_text_and_other_texts_stay(format: str, text: str, wanted: Any) -> None:
    step = f'kind = "unpack"\nformat = "{format}"\nfield = "fields.a.packed"'
    found = of_fields([{"a": {"packed": text, "x": 1}}, {"a.packed": text}, None, {"a": {"packed": 7}}], step)
    said = text if wanted is None else wanted
    assert found == [{"a": {"packed": said, "x": 1}}, {"a.packed": said}, None, {"a": {"packed": 7}}]


def test_what_is_packed_goes_where_it_is_told_to() -> None:
    steps = (
        'kind = "unpack"\nformat = "pairs"\nfield = "message"\ninto = "fields.said"',
        'kind = "unpack"\nformat = "query"\nfield = "fields.said.url"\ninto = "fields.query"',
    )
    [found] = apply([event("url=/a?b=1 took=3")], *steps)
    assert found.message == "url=/a?b=1 took=3"
    assert found.fields == {"said": {"url": "/a?b=1", "took": "3"}, "query": {"b": "1"}}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["json", "pairs", "query"]), st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_any_text_is_unpacked_or_left_as_it_is(format: str, texts: list[str]) -> None:
    step = f'kind = "unpack"\nformat = "{format}"\nfield = "fields.packed"'
    assert len(of_fields([{"packed": text} for text in texts], step)) == len(texts)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('kind = "unpack"\nformat = "xml"\nfield = "message"\ninto = "fields.a"', ["format", "xml"]),
        ('kind = "unpack"\nformat = "json"\nfield = "message"', ["into is missing", "fields.details"]),
        ('kind = "unpack"\nformat = "json"\nfield = "fields.a"\ninto = "user"', ["into", "'user'", "part of fields"]),
        ('kind = "unpack"\nformat = "json"\nfield = "fieldz"', ["field", "'fieldz'"]),
        ('kind = "parse"', ["give format", "pattern"]),
        ('kind = "parse"\nformat = "json"\npattern = "x"', ["give format", "pattern"]),
        ('kind = "parse"\npattern = "%{NOTHING:x}"', ["NOTHING"]),
        ('kind = "parse"\nformat = "json"\nfield = "nothing"', ["'nothing'", "fields.NAME"]),
        ('kind = "lookup"\nfile = "x.csv"\nfield = "nothing"', ["'nothing'", "fields.NAME"]),
        ('kind = "lookup"\nfile = ""\nfield = "user"', ["file is empty"]),
        ('kind = "lookup"\nfile = "x.csv"\nfield = "user"\ninto = "fields.a"', ["into", "without fields."]),
        ('kind = "lookup"\nfile = "x.csv"\nfield = "user"\ncolumns = ["a"]\ncolumn = "b"', ["'b'", "a"]),
        (
            'kind = "lookup"\nfile = "/nothing/x.csv"\nfield = "user"',
            ["(lookup)", "'/nothing/x.csv'", "No such"],
        ),
    ],
)
def test_what_cannot_be_meant_is_an_error(step: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        chain(step)
    for word in ["step 1", *words]:
        assert word in str(raised.value)


HOSTS = """\
# who answers for what
host, team,"owner"
web, shop, "Ann, Lee"
10.0.0.0/8,net,
10.1.0.0/16,lab,bob
2001:db8::/32,six,
db,,

"""


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("web", {"team": "shop", "owner": "Ann, Lee"}),
        ("WEB", None),
        ("10.2.3.4", {"team": "net"}),
        ("10.1.3.4", {"team": "lab", "owner": "bob"}),
        ("2001:db8::7", {"team": "six"}),
        ("192.0.2.1", None),
        ("db", True),
        ("# who answers for what", None),
        ("", None),
        (None, None),
    ],
)
def test_a_file_says_what_it_knows_of_a_value(value: str | None, wanted: Any, tmp_path: Path) -> None:
    (tmp_path / "hosts.csv").write_text(HOSTS)
    step = f'kind = "lookup"\nfile = \'{tmp_path}/hosts.csv\'\nfield = "fields.peer.name"\ninto = "peer_is"'
    given = {"peer": {"name": value}, "x": 1}
    [found] = of_fields([given], step)
    assert found == (given if wanted is None else {**given, "peer_is": wanted})


def test_a_list_without_names_says_who_is_on_it_and_a_filter_drops_them(tmp_path: Path) -> None:
    (tmp_path / "robots.txt").write_text("Backup\nmonitor\n")
    steps = (
        f'kind = "lookup"\nfile = \'{tmp_path}/robots.txt\'\nfield = "user"\ncolumns = ["user"]\nignore_case = true',
        'kind = "filter"\ndrop = "fields.lookup = \'true\'"',
    )
    found = apply([event(user=user) for user in ("ann", "BACKUP", "monitor", None)], *steps)
    assert [one.user for one in found] == ["ann", None]


def test_the_value_may_be_in_another_column_and_of_two_lines_the_first_counts(tmp_path: Path) -> None:
    (tmp_path / "codes.csv").write_text("meaning,code\nno,4\nother,4\n")
    step = f'kind = "lookup"\nfile = \'{tmp_path}/codes.csv\'\nfield = "fields.code"\ncolumn = "code"'
    assert of_fields([{"code": 4}], step) == [{"code": 4, "lookup": {"meaning": "no"}}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a,b\n1,2,3\n", ["more than 2 columns", "1,2,3"]),
        (b"a,b\n1,2\n", ["no column 'code'", "a, b"]),
        (b'code,b\n1,"2\n', ["is not CSV"]),
        (b"code,b\n\xff,1\n", ["is not CSV in UTF-8"]),
    ],
)
def test_a_file_that_is_none_is_an_error(text: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(text)
    column = "a" if b"3" in text else "code"
    with pytest.raises(UsageError) as raised:
        chain(f'kind = "lookup"\nfile = \'{tmp_path}/x.csv\'\nfield = "user"\ncolumn = "{column}"')
    for word in ["step 1 (lookup)", "x.csv", *words]:
        assert word in str(raised.value)


def test_a_file_that_changed_is_read_again_and_one_that_broke_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, clock = tmp_path / "x.csv", FakeClock()

    def write(text: str) -> None:
        (tmp_path / "new").write_text(text)
        os.replace(tmp_path / "new", path)
        clock.advance(timedelta(microseconds=REFRESH_US))

    write("user,team\nann,a\n")
    file = WholeFile(str(path), "file", lambda path: read_known(path, None, (), ignore_case=False))
    step = Lookup(file, column_of("user"), "lookup", clock)

    def team() -> Any:
        [found] = by(step, [event(user="ann")])
        return found.fields

    assert team() == {"lookup": {"team": "a"}}
    write("user,team\nann,longer\n")
    assert team() == {"lookup": {"team": "longer"}}
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            write("user,team\nann,b,c\n")
            assert team() == {"lookup": {"team": "longer"}}
    assert caplog.text.count("the file stays as it was") == 1
    path.unlink()
    clock.advance(timedelta(microseconds=REFRESH_US))
    assert team() == {"lookup": {"team": "longer"}}
