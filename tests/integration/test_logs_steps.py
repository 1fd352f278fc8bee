"""Steps between parser and topic: what they leave out, change and send elsewhere, and what never reaches the disk."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App, UsageError
from millstream.logs.application import LogsApplication
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.logs.steps.patterns import PATTERNS
from millstream.logs.steps.redact import RedactTable
from millstream.logs.steps.redactor import FEW, Redactor
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent, event_of
from millstream.parsers.log_lines import LogParser
from millstream.sources.files import FileSource
from millstream.sources.handling import Handled

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = {"REDACT_KEY": "0123456789abcdef0123456789abcdef"}


def chain(*steps: str) -> Chain:
    text = "\n".join(f"[[step]]\n{step}" for step in steps)
    return Chain(parse_config(text, "test.toml", {}).steps, KEY)


def event(message: str = "m", **fields: Any) -> LogEvent:
    return LogEvent(**{"time": NOW, "source": "s", "message": message, "raw": message, **fields})


def apply(events: list[LogEvent], *steps: str) -> list[LogEvent]:
    return chain(*steps).events(events, now=NOW)


def handled(events: list[LogEvent], *steps: str) -> Handled:
    return chain(*steps).apply(event_columns(events), now=NOW)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("user=ann password=hunter2 x=1", "user=ann password=[password] x=1"),
        ('password: "hunter 2" next', 'password: "[password]" next'),
        (r'log="{\"password\":\"hunt\\\"er2\",\"b\":1}"', r'log="{\"password\":\"[password]\",\"b\":1}"'),
        ("mysql --password hunter2 -u x", "mysql --password [password] -u x"),
        ("password=a,b,c", "password=[password]"),
        ('password=p@ss"w x', "password=[password] x"),
        ("pwd='a b' c", "pwd='[password]' c"),
        ("DB_PASSWORD=x1 API-KEY: y2", "DB_PASSWORD=[password] API-KEY: [password]"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer [authorization]"),
        ("Authorization: Basic dXNlcjpwYXNz=", "Authorization: Basic [authorization]"),
        ("postgres://u:pw@h/db", "postgres://u:[url-password]@h/db"),
        ("s3://u:pw@h/db", "s3://u:[url-password]@h/db"),
        ("GET /a?s\u0131g=abc123 Bas\u0131c\x1cdXNlcjpwYXNz", "GET /a?s\u0131g=[query] Bas\u0131c\x1c[authorization]"),
        ("GET /a?sig=abc123&x=1 HTTP/1.1", "GET /a?sig=[query]&x=1 HTTP/1.1"),
        ("key AKIAIOSFODNN7EXAMPLE", "key [aws-key]"),
        ("jwt eyJhbGciOi.eyJzdWIiOi.abc-_", "jwt [jwt]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- x", "[private-key] x"),
        ("-----BEGIN PRIVATE KEY-----\nabc", "[private-key]"),
        ("mail from ann.b+c@mail.example.com ok", "mail from [email] ok"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("pid 42 4111111111111111 0 4111-1111-1111-1111 7", "pid 42 [card] 0 [card] 7"),
        ("card 4111 1111 1111 1112.", "card 4111 1111 1111 1112."),
        ("account DE89 3704 0044 0532 0130 00 x", "account [iban] x"),
        ("account DE88 3704 0044 0532 0130 00 x", "account DE88 3704 0044 0532 0130 00 x"),
        ("from 203.0.113.9 port 22", "from [ipv4] port 22"),
        ("from 2001:db8::1 and [::1]:80 and ::ffff:1.2.3.4", "from [ipv6] and [[ipv6]]:80 and ::ffff:[ipv4]"),
        ("at 10:00:00 foo::bar aa:bb:cc:dd:ee:ff v1.2.3 300.1.1.1", None),
        ("Failed password for ann from there", None),
        ("Accepted publickey for ann: RSA SHA256:abc", None),
    ],
)
def test_what_looks_like_a_secret_is_replaced_and_nothing_else(text: str, wanted: str | None) -> None:
    [found] = apply([event(text)], 'kind = "redact"\nwhat = ["secrets", "personal"]')
    assert (found.message, found.raw) == (wanted or text, wanted or text)


def test_secret_is_replaced_in_every_field_that_holds_it() -> None:
    secret = "ann@example.com"
    fields = {"a": {"b": [secret, 1]}, secret: 2, "card": 4111111111111111, "token": "x", "n": None, "t": True}
    given = event(
        f"m {secret}", user=secret, command=f"mail {secret}", source_name=secret, fields=fields, raw_bytes=b"\xff"
    )
    [found] = apply([given], 'kind = "redact"\nwhat = ["secrets", "personal"]')
    assert secret.encode() not in msgspec.json.encode(found)
    assert (found.user, found.raw_bytes) == ("[email]", None)
    assert found.fields == {
        "a": {"b": ["[email]", 1]},
        "[email]": 2,
        "card": "[card]",
        "token": "[password]",
        "n": None,
        "t": True,
    }


def test_escape_in_a_line_of_json_hides_nothing() -> None:
    raw = r'{"m":"a\u0040example.com Bearer abcdefgh\u002bijkl","Password":12345, "n":1.5}'
    [given] = [event_of(row) for row in FORMATS["json"].parser("s").columns([raw.encode()], now=NOW).rows(named=True)]
    [found] = apply([given], 'kind = "redact"\nwhat = ["secrets", "personal"]')
    assert json.loads(found.raw) == {"m": "[email] Bearer [authorization]", "Password": "[password]", "n": 1.5}
    assert b"12345" not in msgspec.json.encode(found)
    [same] = apply([event(r'{"b": 1,  "a": "\u00e9"}')], 'kind = "redact"\nwhat = ["secrets"]')
    assert same.raw == r'{"b": 1,  "a": "\u00e9"}'


def test_token_is_the_same_for_the_same_value_so_that_it_can_be_counted() -> None:
    step = 'kind = "redact"\nwhat = ["email"]\nreplace = "token"\nkey_env = "REDACT_KEY"'
    one, other, third = apply([event("a@b.com"), event("x a@b.com"), event("c@b.com")], step)
    assert one.message in other.message
    assert one.message != third.message
    assert one.message.startswith("email-")
    assert len(one.message) == len("email-") + 16


def test_address_can_be_cut_to_its_network() -> None:
    [found] = apply(
        [event("203.0.113.9 2001:db8:1:2::3", source_ip="203.0.113.9")],
        'kind = "redact"\nwhat = ["ip"]\nreplace = "network"',
    )
    assert (found.message, found.source_ip) == ("203.0.113.0 2001:db8:1::", "203.0.113.0")


def test_pattern_of_ones_own_replaces_its_group_in_the_fields_that_are_named() -> None:
    step = 'kind = "redact"\npattern = \'order (?P<n>\\d+)\'\nname = "order"\nfields = ["message"]'
    [found] = apply([event("order 123")], step)
    assert (found.message, found.raw) == ("order [order]", "order 123")


def test_filter_keeps_or_drops_and_counts() -> None:
    events = [event("a", program="cron"), event("b", program="sshd"), event("c")]
    found = handled(events, 'kind = "filter"\ndrop = "program = \'cron\'"')
    assert found.kept.get_column("message").to_list() == ["b", "c"]
    assert found.dropped == {"step 1 (filter)": 1}
    assert [one.message for one in apply(events, 'kind = "filter"\nkeep = "program = \'cron\'"')] == ["a"]


def test_sample_keeps_about_one_in_n_and_every_error() -> None:
    events = [event(f"line {n}", severity="err" if n % 100 == 0 else "info") for n in range(2000)]
    found = apply(events, 'kind = "sample"\none_in = 10')
    errors = [one for one in found if one.severity == "err"]
    assert len(errors) == 20
    assert 100 < len(found) - len(errors) < 320
    assert found == apply(events, 'kind = "sample"\none_in = 10')


def test_dedupe_keeps_the_first_and_says_on_the_next_how_many_were_left_out() -> None:
    seconds = [0, 1, 59, 60, 61, 200]
    events = [event("m", time=NOW + timedelta(seconds=second), fields={"n": second}) for second in seconds]
    events.append(event("other"))
    found = apply(events, 'kind = "dedupe"\nwithin = "1m"')
    assert [one.fields for one in found] == [{"n": 0}, {"n": 60, "repeated": 2}, {"n": 200, "repeated": 1}, None]
    steps = chain('kind = "dedupe"\nwithin = "1m"')
    assert len(steps.events(events[:1], now=NOW)) == 1
    assert steps.events(events[1:2], now=NOW) == []
    steps.forget()
    assert len(steps.events(events[1:2], now=NOW)) == 1


def test_limit_keeps_so_many_a_second_of_each_key() -> None:
    events = [event(str(n), program=f"p{n % 2}", time=NOW + timedelta(seconds=n // 10)) for n in range(20)]
    found = apply(events, 'kind = "limit"\nper_second = 2')
    assert [int(one.message) for one in found] == [0, 1, 2, 3, 10, 11, 12, 13]


def test_route_sends_to_another_topic_and_later_steps_do_not_see_it() -> None:
    steps = (
        'kind = "route"\nwhere = "program = \'app\'"\ntopic = "app"',
        'kind = "set"\nvalues = { action = "seen" }',
    )
    found = handled([event("a", program="app"), event("b")], *steps)
    assert found.kept.select("message", "action").rows() == [("b", "seen")]
    assert found.routed["app"].select("message", "action").rows() == [("a", None)]
    assert found.dropped == {}


def test_fields_are_set_renamed_and_removed() -> None:
    given = event(command="c", fields={"client": "10.0.0.1", "n": 5, "gone": 1})
    [found] = apply(
        [given],
        'kind = "set"\nvalues = { host = "web", "fields.environment" = "prod" }',
        'kind = "rename"\nnames = { "fields.client" = "source_ip", "fields.n" = "session" }',
        'kind = "remove"\nnames = ["command", "fields.gone"]',
        'kind = "received"',
    )
    assert (found.host, found.source_ip, found.session, found.command) == ("web", "10.0.0.1", "5", None)
    assert found.fields == {"environment": "prod", "received": NOW.isoformat()}


def test_host_is_ours_where_a_line_has_none() -> None:
    found = apply([event(host="web"), event()], 'kind = "host"\nname = "here"')
    assert [one.host for one in found] == ["web", "here"]


def test_times_are_repaired() -> None:
    [found] = apply([event()], 'kind = "time"\nshift = "-1h"')
    assert found.time == NOW - timedelta(hours=1)
    late, fine = apply(
        [event(time=NOW + timedelta(days=9)), event(time=NOW + timedelta(minutes=1))], 'kind = "time"\nfuture = "1h"'
    )
    assert (late.time, fine.time) == (NOW, NOW + timedelta(minutes=1))
    [line] = LogParser("s").events([b"Mar  1 10:00:00 web app: hello"], now=NOW)
    [found] = apply([line], 'kind = "time"\nzone = "Asia/Tokyo"')
    assert found.time == datetime(2026, 3, 1, 1, 0, tzinfo=UTC)


def test_message_is_read_as_another_format() -> None:
    given = event('level=warn msg="it works" n=1', fields={"container": "web"}, program="docker")
    [found] = apply([given], 'kind = "parse"\nformat = "logfmt"')
    assert (found.severity, found.message, found.program) == ("warning", "it works", "docker")
    assert found.fields == {"container": "web", "n": "1"}
    assert (found.raw, found.time) == (given.raw, NOW)


def test_step_with_a_condition_leaves_the_others_as_they_are_and_where_they_are() -> None:
    events = [event(str(n), program=f"p{n % 3}") for n in range(9)]
    found = apply(events, 'kind = "set"\nwhere = "program = \'p1\'"\nvalues = { user = "u" }')
    assert [one.message for one in found] == [one.message for one in events]
    assert [one.user for one in found] == [None, "u", None] * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('kind = "shuffle"', ["step 1", "'shuffle'", "redact"]),
        ('kind = "redact"', ["what or pattern", "email"]),
        ('kind = "redact"\nwhat = ["mail"]', ["'mail'", "email"]),
        ('kind = "redact"\nwhat = ["ip"]\nfields = ["kind"]', ["'kind'", "raw"]),
        ("kind = \"redact\"\npattern = '('", ["pattern", "'('"]),
        ("kind = \"redact\"\npattern = 'a*'", ["empty"]),
        ('kind = "redact"\nwhat = ["ip"]\nreplace = "token"', ["key_env", "key_file"]),
        ('kind = "redact"\nwhat = ["ip"]\nkey = "x"', ["`key`", "key_env"]),
        ('kind = "redact"\nwhat = ["email"]\nreplace = "network"', ["addresses"]),
        ('kind = "redact"\nwhat = ["email"]\nreplace = "text"', ["text"]),
        ('kind = "filter"', ["keep or drop"]),
        ('kind = "filter"\ndrop = "who = 1"', ["drop", "'who'"]),
        ('kind = "sample"\none_in = 0', ["one_in"]),
        ('kind = "dedupe"\nwithin = "soon"', ["soon"]),
        ('kind = "dedupe"\nwithin = "1m"\nby = ["who"]', ["by", "'who'"]),
        ('kind = "limit"\nper_second = 0', ["per_second"]),
        ('kind = "route"\ntopic = "x"', ["where"]),
        ('kind = "route"\nwhere = "true"\ntopic = "a b"', ["'a b'", "letters"]),
        ('kind = "route"\nwhere = "true"\ntopic = "system.seals"', ["'system.seals'", "another"]),
        ('kind = "set"\nvalues = { kind = "x" }', ["'kind'", "fields.NAME"]),
        ('kind = "time"', ["year, zone, shift, future or past"]),
        ('kind = "time"\nshift = "1h"', ["sign"]),
        ('kind = "time"\nzone = "Mars/Base"', ["Mars/Base"]),
        ('kind = "parse"\nformat = "nothing"', ["'nothing'"]),
        ('kind = "parse"\nformat = "access"', ["'access'"]),
    ],
)
def test_wrong_step_says_what_is_allowed(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        chain(text)
    for word in ["test.toml, step 1", *words]:
        assert word in str(raised.value)


def test_key_is_long_and_there() -> None:
    tables = parse_config(
        '[[step]]\nkind = "redact"\nwhat = ["ip"]\nreplace = "token"\nkey_env = "K"', "test.toml"
    ).steps
    for environment in ({}, {"K": "short"}):
        with pytest.raises(UsageError, match=r"step 1 \(redact\): the variable K"):
            Chain(tables, environment)


STEPS = (
    'kind = "redact"\nwhat = ["secrets", "personal"]',
    'kind = "filter"\ndrop = "program = \'a\'"',
    'kind = "dedupe"\nwithin = "10s"',
    'kind = "limit"\nper_second = 3',
    'kind = "set"\nwhere = "user = \'b\'"\nvalues = { "fields.x" = "y" }',
    'kind = "route"\nwhere = "program = \'b\'"\ntopic = "other"',
)
WORDS = st.sampled_from(["a", "b", "x@y.com", "password=z", "10.0.0.1", "", "\n", "\xff"])
EVENTS = st.builds(
    lambda parts, program, user, second, fields: event(
        " ".join(parts), program=program, user=user, time=NOW + timedelta(seconds=second), fields=fields
    ),
    st.lists(WORDS, max_size=3),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, "b", "x@y.com"]),
    st.integers(0, 30),
    st.none() | st.dictionaries(WORDS, WORDS | st.integers() | st.lists(WORDS, max_size=2), max_size=2),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENTS, max_size=12), st.integers(0, 12))
def test_what_comes_out_does_not_depend_on_how_events_are_cut_or_coded(events: list[LogEvent], cut: int) -> None:
    whole = chain(*STEPS).apply(event_columns(events), now=NOW)
    parted = chain(*STEPS)
    parts = [parted.apply(event_columns(part), now=NOW) for part in (events[:cut], events[cut:])]
    assert pl.concat([part.kept for part in parts]).equals(whole.kept)
    routed = [part.routed["other"] for part in parts if "other" in part.routed]
    assert sum(frame.height for frame in routed) == sum(frame.height for frame in whole.routed.values())
    one_by_one = chain(*STEPS)
    listed = [kept for one in events for kept in one_by_one.events([one], now=NOW)]
    assert listed == [event_of(row) for row in whole.kept.iter_rows(named=True)]
    gone = sum(whole.dropped.values()) + sum(frame.height for frame in whole.routed.values())
    assert whole.kept.height + gone == len(events)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.sampled_from(["ann@example.com", "password=Zq9Zq9", "4111111111111111"]))
def test_secret_between_any_other_text_is_in_no_field(noise: str, secret: str) -> None:
    given = event(f"{noise} {secret} {noise}", fields={"f": f"{noise} {secret}"})
    [found] = apply([given], 'kind = "redact"\nwhat = ["secrets", "personal"]')
    assert secret.partition("=")[2] not in str(found) or not secret.startswith("password")
    assert secret.encode() not in msgspec.json.encode(found)


@pytest.mark.parametrize("lines", [5, 3000])
def test_what_is_redacted_is_nowhere_in_the_database(tmp_path: Path, lines: int) -> None:
    secret = "Sup3rS3cretValue"
    path = tmp_path / "app.log"
    text = f"2026-03-01T10:00:00+00:00 web app[1]: login with password={secret} of ann@example.com \xff\n"
    path.write_bytes(text.encode("latin-1") * lines)
    with App(tmp_path / "log.db") as app:
        steps = chain('kind = "redact"\nwhat = ["secrets", "personal"]')
        logs = LogsApplication(app, [], steps=steps)
        logs.catch_up([FileSource([path], lines_first=lines, follow=False)])
        assert sum("[password]" in one.value.raw for one in logs.events.read(0, records_max=10_000)) == lines
        held = b"".join(found.read_bytes() for found in tmp_path.glob("log.db*"))
    held += b"".join(found.read_bytes() for found in tmp_path.glob("log.db*"))
    assert b"login with" in held or lines > 5
    assert secret.encode() not in held
    assert b"ann@example.com" not in held


def test_columns_do_not_carry_along_what_was_taken_out() -> None:
    """A value that is only marked as empty, or a row that is only skipped, would be stored all the same."""
    secret = "Sup3rS3cretValueThatIsLong"
    events = [event(f"{n} password={secret}", raw_bytes=f"{n} {secret}".encode(), user=secret) for n in range(300)]
    events += [event(f"{secret} {n}") for n in range(300)]
    steps = (
        f'kind = "filter"\ndrop = "message LIKE \'{secret}%\'"',
        'kind = "redact"\nwhat = ["secrets"]',
        f"kind = \"redact\"\npattern = '{secret}'",
    )
    kept = handled(events, *steps).kept
    assert kept.height == 300
    buffer = io.BytesIO()
    kept.write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    assert b"password=[password]" in buffer.getvalue()
    assert secret.encode() not in buffer.getvalue()


@pytest.mark.parametrize("lines", [5, 3000])
def test_what_is_filtered_is_nowhere_in_the_database(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "app.log"
    secret = "Sup3rS3cretValueThatIsLong"
    texts = [f"2026-03-01T10:00:00+00:00 web app[1]: {['kept', secret][n % 2]} {n}\n" for n in range(lines)]
    path.write_text("".join(texts))
    with App(tmp_path / "log.db") as app:
        steps = chain(f'kind = "filter"\ndrop = "message LIKE \'{secret}%\'"')
        LogsApplication(app, [], steps=steps).catch_up([FileSource([path], lines_first=lines, follow=False)])
        held = b"".join(found.read_bytes() for found in tmp_path.glob("log.db*"))
    held += b"".join(found.read_bytes() for found in tmp_path.glob("log.db*"))
    assert secret.encode() not in held


def test_events_that_are_left_out_or_routed_come_once_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("")
    steps = (
        'kind = "filter"\ndrop = "message = \'noise\'"',
        'kind = "route"\nwhere = "message LIKE \'r%\'"\ntopic = "r"',
    )
    counts = []
    for words in (["noise", "noise"], ["r1", "r2", "noise"], ["kept", "r3"]):
        with path.open("a") as file:
            file.writelines(f"2026-03-01T10:00:00+00:00 web app[1]: {word}\n" for word in words)
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, [], steps=chain(*steps))
            follower = logs.catch_up([FileSource([path], follow=False)])
            counts.append((dict(follower.dropped), dict(follower.routed)))
            kept = [one.value.message for one in logs.events.read(0, records_max=100)]
    with App(tmp_path / "log.db") as app:
        routed = [one.value.message for one in app.topic("r", LogEvent, time="time").read(0, records_max=100)]
    assert kept == ["kept"]
    assert routed == ["r1", "r2", "r3"]
    assert counts == [({"step 1 (filter)": 2}, {}), ({"step 1 (filter)": 1}, {"r": 2}), ({}, {"r": 1})]


@pytest.mark.parametrize(("topic", "words"), [("logs", "all others"), ("alerts", "other records")])
def test_route_to_a_topic_that_is_not_for_it_is_refused_before_anything_is_read(topic: str, words: str) -> None:
    with App("memory://") as app:
        logs = LogsApplication(app, [], steps=chain(f'kind = "route"\nwhere = "true"\ntopic = "{topic}"'))
        with pytest.raises(UsageError, match=words):
            logs.catch_up([])


KEYS = ["password", "DB_PASSWD", "api-key", "secret", "token", "pwd", "pass", "credentials", "aws.access_key"]
AFTER = ["=", ":", " = ", '": "', '\\": \\"', " =>", "\x1c=", "'='"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KEYS), st.sampled_from(AFTER), st.text(max_size=20))
def test_what_a_pattern_finds_its_hint_finds_too(key: str, after: str, noise: str) -> None:
    text = f"{noise} {key}{after}Zq9Zq9 {noise}"
    for pattern in PATTERNS.values():
        if pattern.find.search(text):
            assert pl.Series([text]).str.contains(pattern.looked_for).all(), pattern.name
    [found] = apply([event(text)], 'kind = "redact"\nwhat = ["secrets"]')
    assert "Zq9Zq9" not in found.raw


CHARACTERS = "=:;,.@ -/?&\"'{}[]\\+_0\n\x1c\u0130\u0131\u017f\u212a"
WORDS_OF_SECRETS = (
    ":// 4111 a eyJhbGciOi .eyJhbGciOi. AKIA Bearer BASIC Digest token password pass sig api_key --secret http s3 user "
    "x.com DE89 3704 10.0.0.1 ::1 abcd ABCDEFGH12345678"
)
PIECES = st.sampled_from([*CHARACTERS, *WORDS_OF_SECRETS.split(), "-----BEGIN RSA PRIVATE KEY-----"])


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_hints_let_through_whatever_the_expressions_find(text: str) -> None:
    for pattern in PATTERNS.values():
        if any(pattern.is_one(found[0]) for found in pattern.find.finditer(text)):
            assert pl.Series([text]).str.contains(pattern.looked_for).all(), pattern.name


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_polars_replaces_is_what_python_replaces(text: str) -> None:
    what = [name for name, pattern in PATTERNS.items() if pattern.of_ascii]
    by_polars = RedactTable(what=tuple(what), fields=("message",)).open({})
    by_python = Redactor([PATTERNS[name] for name in what], lambda name, value: f"[{name}]", ("message",))
    frame = event_columns([event(text)] * (FEW + 1))
    assert by_polars.apply(frame, now=NOW).equals(by_python.apply(frame, now=NOW))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=20))
def test_redaction_of_a_value_does_not_depend_on_the_values_around_it(texts: list[str]) -> None:
    step = 'kind = "redact"\nwhat = ["secrets", "personal"]'
    events = [event(text, fields={"f": text, text: [1, text]}) for text in texts]
    alone = [apply([one], step)[0] for one in events]
    assert apply(events, step) == alone
    assert apply(events * (FEW + 1), step) == alone * (FEW + 1)


FIELD_VALUES = st.lists(PIECES, max_size=6).map("".join) | st.integers(0, 10**17) | st.floats(0, 1e18) | st.booleans()


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.lists(PIECES, max_size=3).map("".join), FIELD_VALUES | st.lists(FIELD_VALUES, max_size=2)))
def test_flat_fields_are_redacted_as_those_are_that_are_read_one_by_one(fields: dict[str, Any]) -> None:
    step = 'kind = "redact"\nwhat = ["secrets", "personal"]'
    nested = {"nested": {"n": 1}}
    found = apply([event(fields=fields), event(fields={**fields, **nested})] * (FEW + 1), step)
    for flat, deep in zip(found[::2], found[1::2], strict=True):
        assert {**(flat.fields or {}), **nested} == deep.fields


@pytest.mark.parametrize("option", ["--password", "--token", "--secret", "--passwd"])
def test_hint_finds_options(option: str) -> None:
    [found] = apply([event(f"run {option} Zq9Zq9 x")], 'kind = "redact"\nwhat = ["password"]')
    assert found.raw == f"run {option} [password] x"
