"""compute: fields that SQL makes of an event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.log_steps import apply, chain, event

from millstream import UsageError
from millstream.logs.where import condition

FIELDS: dict[str, Any] = {"http": {"status": 404, "path": "/a/b?x=1"}, "tags": "red, green", "ms": 1.5, "level": "W"}


def computed(values: str, **more: Any) -> Any:
    [found] = apply([event("Login of ANN", **{"fields": FIELDS, **more})], f'kind = "compute"\nvalues = {values}')
    return found


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("lower(message)", "login of ann"),
        ("COALESCE(user, fields.nobody, fields.http.path)", "/a/b?x=1"),
        ("SPLIT_PART(fields.http.path, '?', 1)", "/a/b"),
        ("program || ':' || message", None),
        ("CONCAT_WS('-', fields.tags, fields.level)", "red, green-W"),
        ("TRY_CAST(fields.http.status AS INT) >= 400", True),
        ("TRY_CAST(fields.http.status AS INT) + 1", 405),
        ("ROUND(CAST(fields.ms AS DOUBLE) / 3, 1)", 0.5),
        ("1 / 3.0 > 0.3", True),
        ("STRING_TO_ARRAY(fields.tags, ', ')", ["red", "green"]),
        ("CAST('NaN' AS DOUBLE)", None),
        ("time", "2026-03-01T12:00:00Z"),
        ("'\"é\"\n'", '"é"\n'),
        ("NULL", None),
    ],
)
def test_a_part_of_fields_has_the_value_with_its_type(expression: str, wanted: Any) -> None:
    found = computed(f"{{ 'fields.new' = '''{expression}''', 'fields.in.new' = '''{expression}''' }}")
    added = {} if wanted is None else {"new": wanted, "in": {"new": wanted}}
    assert found.fields == {**FIELDS, **added}


def test_fields_of_every_event_get_what_they_can_have() -> None:
    step = """kind = "compute"
        [step.values]
        user = "lower(SPLIT_PART(message, ' ', 3))"
        session = "TRY_CAST(fields.http.status AS INT)"
        severity = "CASE fields.level WHEN 'W' THEN 'warning' END"
        kind = "'login'"
        action = "'login_failed'"
        success = "fields.http.status < '400'"
        pid = "fields.http.status"
        host = "fields.nothing"
        """
    [found] = apply([event("Login of ANN", fields=FIELDS, host="web")], step)
    assert (found.user, found.session, found.severity, found.kind) == ("ann", "404", "warning", "login")
    assert (found.success, found.pid, found.host, found.action) == (False, 404, "web", "login_failed")


def test_what_a_field_cannot_have_leaves_it_as_it_is() -> None:
    found = computed(
        "{ severity = 'fields.level', kind = 'fields.tags', pid = 'fields.tags', success = 'fields.level' }",
        severity="err",
        pid=7,
        success=True,
    )
    assert (found.severity, found.kind, found.pid, found.success) == ("err", None, 7, True)


def test_all_values_are_made_of_the_event_as_it_was() -> None:
    found = computed("{ user = 'session', session = 'user', 'fields.level' = 'fields.ms' }", user="u", session="s")
    assert (found.user, found.session, found.fields["level"]) == ("s", "u", "1.5")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{ user = 'root' }", ["values, user", "'root'", "single quotes"]),
        ("{ user = 'lower(' }", ["values, user", "is no expression"]),
        ("{ user = 'max(host)' }", ["several events"]),
        ("{ user = \"UNNEST(STRING_TO_ARRAY(host, ','))\" }", ["several events"]),
        ("{ raw = 'message' }", ["'raw'", "severity"]),
        ("{ 'fields.a[0]' = 'user' }", ["place in a list"]),
        ("{ kind = \"'logni'\" }", ["kind cannot be 'logni'", "login", "log_cleared"]),
        ("{ success = \"'perhaps'\" }", ["success cannot be 'perhaps'", "true, false"]),
        ("{ pid = \"'x'\" }", ["pid cannot be 'x'", "whole number"]),
        ("{}", ["values is empty"]),
    ],
)
def test_a_value_that_cannot_be_meant_is_an_error(values: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        chain(f'kind = "compute"\nvalues = {values}')
    for word in ["step 1", *words]:
        assert word in str(raised.value)


def test_a_condition_that_makes_several_events_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="several events"):
        condition("UNNEST(STRING_TO_ARRAY(user, ',')) = 'a'")


PLAIN = st.text("ab", max_size=2) | st.integers(0, 9)
OBJECTS = st.dictionaries(st.sampled_from(["a", "b", "c.d"]), PLAIN | st.dictionaries(st.just("d"), PLAIN), max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | OBJECTS, min_size=1, max_size=5))
def test_values_of_many_events_are_those_of_each(some: list[dict[str, Any] | None]) -> None:
    step = (
        'kind = "compute"\nvalues = { "fields.c.d" = "fields.a", "fields.b" = "lower(fields.c.d)", user = "fields.b" }'
    )
    events = [event(fields=fields) for fields in some]
    assert apply(events, step) == [apply([one], step)[0] for one in events]
    for before, after in zip(events, apply(events, step), strict=True):
        known = before.fields or {}
        if isinstance(known.get("a"), str) and "c.d" in known:
            assert after.fields is not None
            assert after.fields["c.d"] == known["a"]
