"""Names of parts of `fields` in the steps that take them, with objects inside and with dots in names."""

from __future__ import annotations

from typing import Any

import pytest
from tests.log_steps import apply, chain, event

from millstream import UsageError

FLAT: dict[str, Any] = {"user.email": "ann@example.com", "user.id": 7}
NESTED: dict[str, Any] = {"user": {"email": "ann@example.com", "id": 7}}


@pytest.mark.parametrize(
    ("step", "flat", "nested"),
    [
        (
            'kind = "set"\nvalues = { "fields.user.email" = "x" }',
            {"user.email": "x", "user.id": 7},
            {"user": {"email": "x", "id": 7}},
        ),
        ('kind = "remove"\nnames = ["fields.user.email"]', {"user.id": 7}, {"user": {"id": 7}}),
        ('kind = "remove"\nnames = ["fields.user.email", "field(\'user.id\')"]', None, None),
        ('kind = "rename"\nnames = { "fields.user.email" = "user" }', {"user.id": 7}, {"user": {"id": 7}}),
        (
            'kind = "rename"\nnames = { "fields.user.id" = "fields.id" }',
            {"user.email": "ann@example.com", "id": 7},
            {"user": {"email": "ann@example.com"}, "id": 7},
        ),
        (
            'kind = "redact"\nwhat = ["email"]\nfields = ["fields.user.email", "fields.nothing.x"]',
            {"user.email": "[email]", "user.id": 7},
            {"user": {"email": "[email]", "id": 7}},
        ),
    ],
)
def test_a_part_is_changed_wherever_it_is(step: str, flat: dict[str, Any], nested: dict[str, Any]) -> None:
    found = apply([event(fields=FLAT), event(fields=NESTED), event(fields=None), event(fields={"user": "u"})], step)
    assert [one.fields for one in found[:2]] == [flat, nested]
    if "set" not in step:
        assert [one.fields for one in found[2:]] == [None, {"user": "u"}]
    else:
        assert [one.fields for one in found[2:]] == [{"user": {"email": "x"}}, {"user": "u", "user.email": "x"}]


def test_parts_that_are_kept_stay_where_they_are_and_all_others_go() -> None:
    given = {"a": {"b": 1, "c": 2}, "d.e": 3, "d": {"f": 4, "g": 5}, "h": 6}
    step = 'kind = "remove"\nkeep = ["fields.a.b", "fields.d.e", "fields.d.f", "fields.nothing"]'
    found = apply([event("m", fields=given, user="ann"), event(fields={"x": 1}), event(fields=None)], step)
    assert [one.fields for one in found] == [{"a": {"b": 1}, "d.e": 3, "d": {"f": 4}}, None, None]
    assert (found[0].message, found[0].user) == ("m", "ann")


def test_only_the_named_parts_are_redacted_and_all_that_is_inside_of_them() -> None:
    step = 'kind = "redact"\nwhat = ["email", "password"]\nfields = ["fields.to", "fields.in.password", "user"]'
    given = {"to": ["a@example.com", {"x": "b@example.com"}], "from": "c@example.com", "in": {"password": "p", "x": 1}}
    [found] = apply([event("d@example.com", fields=given, user="e@example.com")], step)
    assert found.fields == {
        "to": ["[email]", {"x": "[email]"}],
        "from": "c@example.com",
        "in": {"password": "[password]", "x": 1},
    }
    assert (found.message, found.user) == ("d@example.com", "[email]")


def test_a_name_with_dots_that_says_it_is_a_secret_is_redacted_as_one() -> None:
    step = 'kind = "redact"\nwhat = ["password"]\nfields = ["fields.db.password"]'
    found = apply([event(fields={"db.password": "p w"}), event(fields={"db": {"password": "p w"}})], step)
    assert [one.fields for one in found] == [{"db.password": "[password]"}, {"db": {"password": "[password]"}}]


@pytest.mark.parametrize(
    "step",
    [
        'kind = "dedupe"\nwithin = "1m"\nby = ["fields.user.id"]',
        'kind = "limit"\nper_second = 1\nby = ["fields.user.id"]',
    ],
)
def test_parts_are_what_events_have_in_common(step: str) -> None:
    other = {"user": {"id": 8}}
    found = apply([event(fields=one) for one in (FLAT, NESTED, other, {"user.id": "8"}, None, None)], step)
    assert [one.fields for one in found] == [FLAT, other, None]


def test_samples_go_by_parts_together() -> None:
    given = [event(fields={"user": {"id": number % 10}, "n": number}) for number in range(200)]
    found = apply(given, 'kind = "sample"\none_in = 2\nby = ["fields.user.id", "host"]')
    kept = {one.fields["user"]["id"] for one in found if one.fields}
    assert 0 < len(kept) < 10
    assert len(found) == 20 * len(kept)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ('kind = "set"\nvalues = { "fields.a[0]" = "x" }', ["values", "fields.a[0]", "place in a list", "whole list"]),
        ('kind = "remove"\nnames = ["fields.a.b[2]"]', ["names", "fields.a.b[2].NAME"]),
        ('kind = "rename"\nnames = { "user" = "fields.a[1]" }', ["names", "fields.a[1]"]),
        ('kind = "remove"', ["give names", "keep"]),
        ('kind = "remove"\nnames = ["user"]\nkeep = ["fields.a"]', ["give names", "keep"]),
        ('kind = "remove"\nkeep = ["user"]', ["keep is ['user']", "fields.status"]),
        ('kind = "remove"\nkeep = ["fields.a[0].b"]', ["fields.a[0].b", "no places"]),
        ('kind = "dedupe"\nwithin = "1m"\nby = ["field"]', ["by", "'field'", "fields.NAME"]),
        ('kind = "limit"\nper_second = 1\nby = []', ["by is empty"]),
        ('kind = "redact"\nwhat = ["ip"]\nfields = ["fieldz.x"]', ["'fieldz.x'", "fields.NAME"]),
    ],
)
def test_a_name_that_cannot_be_meant_is_an_error(step: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        chain(step)
    for word in ["step 1", *words]:
        assert word in str(raised.value)


def test_what_is_inside_of_a_list_is_changed_in_its_place() -> None:
    fields = {"records": [{"type": "PATH", "name": "/a"}, {"type": "CWD"}]}
    steps = (
        'kind = "set"\nvalues = { "fields.records[1].name" = "/b", "fields.records[5].name" = "/c" }',
        'kind = "remove"\nnames = ["fields.records[0].name"]',
        'kind = "rename"\nnames = { "fields.records[0].type" = "service" }',
    )
    [found] = apply([event(fields=fields)], *steps)
    assert found.service == "PATH"
    assert found.fields == {"records": [{}, {"type": "CWD", "name": "/b"}], "records[5].name": "/c"}
