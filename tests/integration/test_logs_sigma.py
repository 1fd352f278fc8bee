"""Sigma rules over our events; the rules are written for these tests."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream import App, UsageError
from millstream.cli.application import run
from millstream.logs.alert import Alert, Level
from millstream.logs.application import LogsApplication
from millstream.logs.config import parse_config
from millstream.logs.sigma import SigmaRules, read_sigma
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent

pytest.importorskip("sigma", reason="pySigma is not installed: pip install 'millstream[sigma]'")

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def event(second: float = 0, **more: Any) -> LogEvent:
    said = {"source": "test", "message": "", **more}
    said.setdefault("raw", said["message"])
    return LogEvent(time=TEN + timedelta(seconds=second), **said)


def windows(event_id: int, second: float = 0, channel: str = "Security", **data: Any) -> LogEvent:
    return event(second, format="windows", fields={"event_id": event_id, "channel": channel, **data})


def written(folder: Path, *texts: str) -> Path:
    for number, text in enumerate(texts):
        (folder / f"{number}.yml").write_text(text)
    return folder


def rule(detection: str, logsource: str = "product: linux", **more: str) -> str:
    lines = "\n".join(f"{name}: {value}" for name, value in more.items())
    indented = "\n".join(f"    {line}" for line in detection.strip("\n").splitlines())
    return f"title: A test rule\nlogsource: {{{logsource}}}\ndetection:\n{indented}\n{lines}\n"


def read(folder: Path, *texts: str) -> SigmaRules:
    return read_sigma(written(folder, *texts))


def alerts(folder: Path, texts: Sequence[str], events: Sequence[LogEvent]) -> list[Alert]:
    found = read(folder, *texts)
    assert found.problems == ()
    with App("memory://") as app:
        logs = LogsApplication(app, found.rules)
        logs.events.extend(events)
        app.run(until="now")
        return [record.value for record in logs.alerts.read(0, records_max=1000)]


def matched(folder: Path, detection: str, events: Sequence[LogEvent], logsource: str = "product: linux") -> list[int]:
    """Return the seconds of the events that a rule matches."""
    found = alerts(folder, [rule(detection, logsource)], events)
    return [round((alert.time - TEN).total_seconds()) for alert in found]


# --- what is kept of a rule -----------------------------------------------------------------------------------------


def test_title_level_tags_and_id_of_a_rule_are_on_its_alerts(tmp_path: Path) -> None:
    text = """
title: Password {file} read
id: 5f0c7a3e-9d0a-4c65-b0d8-3d9d4f6a1b11
status: test
level: high
tags:
    - attack.credential-access
    - attack.t1003
logsource: {product: linux, service: sudo}
detection:
    selection:
        CommandLine|contains: /etc/shadow
    condition: selection
"""
    events = [
        event(1, program="sudo", command="/bin/cat /etc/SHADOW", message="ann : COMMAND=/bin/cat"),
        event(2, program="other", command="/bin/cat /etc/shadow"),
    ]
    [found] = alerts(tmp_path, [text], events)
    assert (found.rule, found.level) == ("password-file-read", Level.HIGH)
    assert found.message == "Password {file} read: ann : COMMAND=/bin/cat"
    assert found.tags == [
        "attack.credential-access",
        "attack.t1003",
        "sigma.id.5f0c7a3e-9d0a-4c65-b0d8-3d9d4f6a1b11",
    ]


# --- modifiers ------------------------------------------------------------------------------------------------------

TEXTS = ["Alpha beta", "beta ALPHA", "alpha", "gamma's 50% \\x", "", None, "a*b"]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ("user: alpha", [2]),
        ("user|cased: alpha", [2]),
        ("user|cased: ALPHA", []),
        ("user|contains: ALPHA", [0, 1, 2]),
        ("user|contains|cased: ALPHA", [1]),
        ("user|startswith: alpha", [0, 2]),
        ("user|endswith: alpha", [1, 2]),
        ("user: alpha*", [0, 2]),
        ("user: al?ha", [2]),
        ("user: '*a b*'", [0]),
        ("user: 'a\\*b'", [6]),
        ('user|contains: "\'s 50% \\\\x"', [3]),
        ("user|contains|all: [alpha, beta]", [0, 1]),
        ("user|contains: [gamma, 'A*B']", [0, 3, 6]),
        (
            "user|re: '^[ab].*a$'",
            [
                2,
            ],
        ),
        ("user|re|i: '^[ab].*a$'", [0, 1, 2]),
        ("user: ''", [4]),
        ("user: null", [5]),
        ("user|exists: false", [5]),
        ("user|exists: true", [0, 1, 2, 3, 4, 6]),
        ("user: [alpha, null]", [2, 5]),
    ],
)
def test_modifiers_of_text(tmp_path: Path, selection: str, wanted: list[int]) -> None:
    events = [event(second, user=text) for second, text in enumerate(TEXTS)]
    assert matched(tmp_path, f"selection:\n    {selection}\ncondition: selection", events) == wanted


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ("source_ip|cidr: 10.0.0.0/8", [0]),
        ("source_ip|cidr: [10.0.0.0/8, '2001:db8::/32']", [0, 2]),
        ("pid: 7", [0]),
        ("pid|gt: 7", [1]),
        ("pid|lte: 7", [0]),
        ("Size|gte: 100", [1]),
        ("Size: 99", [0]),
        ("Name|base64offset|contains: secret", [1]),
        ("Name|windash|contains: ' -enc '", [0, 2]),
        ("Active: true", [1]),
        ("user|fieldref: target_user", [1]),
        ("success: false", [0]),
    ],
)
def test_modifiers_of_other_values(tmp_path: Path, selection: str, wanted: list[int]) -> None:
    events = [
        event(0, source_ip="10.1.2.3", pid=7, fields={"Size": 99, "Name": "x /enc y"}, user="a", success=False),
        event(
            1,
            source_ip="11.1.2.3",
            pid=70,
            fields={"Size": 100, "Name": "c2VjcmV0", "Active": True},
            user="b",
            target_user="B",
        ),
        event(2, source_ip="2001:db8::7", fields={"Name": "x -ENC y"}),
    ]
    assert matched(tmp_path, f"selection:\n    {selection}\ncondition: selection", events) == wanted


# --- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ("selection_a and selection_b", [0]),
        ("selection_a or selection_b", [0, 1, 2]),
        ("1 of selection_*", [0, 1, 2]),
        ("all of selection_*", [0]),
        ("selection_a and not filter", [1]),
        ("not filter", [1, 2, 3]),
        ("not 1 of selection_*", [3]),
        ("(selection_a or filter) and not selection_b", [1]),
    ],
)
def test_conditions_hold_also_for_events_that_lack_a_field(tmp_path: Path, condition: str, wanted: list[int]) -> None:
    detection = f"""
selection_a:
    user: ann
selection_b:
    host: web
filter:
    Extra: yes please
condition: {condition}
"""
    events = [
        event(0, user="ann", host="web", fields={"Extra": "Yes Please"}),
        event(1, user="Ann"),
        event(2, host="web"),
        event(3),
    ]
    assert matched(tmp_path, detection, events) == wanted


def test_keywords_are_looked_for_in_the_message_and_the_line(tmp_path: Path) -> None:
    detection = "keywords:\n    - segFAULT\n    - 'out of * memory'\ncondition: keywords"
    events = [
        event(0, message="a segfault here"),
        event(1, message="x", raw="OUT of all Memory!"),
        event(2, message="nothing"),
    ]
    assert matched(tmp_path, detection, events) == [0, 1]
    together = "keywords:\n    '|all':\n        - here\n        - segfault\ncondition: keywords"
    assert matched(tmp_path, together, events) == [0]


def test_list_of_selections_is_any_of_them(tmp_path: Path) -> None:
    detection = "selection:\n    - user: ann\n      host: web\n    - user: bob\ncondition: selection"
    events = [event(0, user="ann"), event(1, user="ann", host="web"), event(2, user="bob")]
    assert matched(tmp_path, detection, events) == [1, 2]


# --- log sources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logsource", "wanted"),
    [
        ("product: linux, service: sshd", [0]),
        ("product: linux, service: sudo", [1]),
        ("product: linux, service: auth", [0, 1]),
        ("product: linux, service: cron", [2]),
        ("product: linux, service: auditd", [3]),
        ("product: linux, category: process_creation", [1, 3]),
        ("product: windows, service: security", [4, 5]),
        ("product: windows, service: system", [6]),
        ("product: windows, category: process_creation", [5]),
        ("category: webserver", [7]),
    ],
)
def test_log_source_says_which_events(tmp_path: Path, logsource: str, wanted: list[int]) -> None:
    events = [
        event(0, program="sshd", kind=Kind.LOGIN, message="x"),
        event(1, program="sudo", kind=Kind.PRIVILEGE, command="/bin/ls -l", message="x"),
        event(2, program="CRON", message="x"),
        event(3, format="audit", fields={"exe": "/bin/ls"}, message="x"),
        windows(4625, 4, message="x"),
        windows(4688, 5, message="x", NewProcessName="C:\\bin\\ls.exe"),
        windows(7045, 6, "System", message="x"),
        event(7, format="w3c", fields={"c-uri": "/"}, message="x"),
    ]
    events = [one if one.raw else event((one.time - TEN).total_seconds(), raw="x", fields=one.fields) for one in events]
    assert matched(tmp_path, "keywords:\n    - x\ncondition: keywords", events, logsource) == wanted


def test_fields_of_windows_and_of_processes_find_their_place(tmp_path: Path) -> None:
    detection = "selection:\n    EventID: [4625, 4624]\n    TargetUserName|startswith: adm\ncondition: selection"
    events = [windows(4625, 0, TargetUserName="Admin"), windows(4634, 1, TargetUserName="admin")]
    assert matched(tmp_path, detection, events, "product: windows, service: security") == [0]
    image = "selection:\n    Image|endswith: /nc\ncondition: selection"
    events = [
        event(0, command="/usr/bin/nc -l 1"),
        event(1, command="/bin/echo /nc"),
        event(2, fields={"exe": "/bin/nc"}),
    ]
    assert matched(tmp_path, image, events, "product: linux, category: process_creation") == [0, 2]


# --- correlations ---------------------------------------------------------------------------------------------------

FAILED = """
title: Failed login
name: failed
logsource: {product: linux, service: sshd}
detection:
    selection: {success: false}
    condition: selection
"""
ACCEPTED = FAILED.replace("Failed login", "Login").replace("name: failed", "name: accepted").replace("false", "true")


def correlation(type_: str, rules: str, more: str = "", *, by: str = "source_ip") -> str:
    return f"""
title: Together
level: critical
correlation:
    type: {type_}
    rules: [{rules}]
    group-by: [{by}]
    timespan: 1m
{more}
"""


def login(second: float, success: bool, user: str = "ann", address: str = "203.0.113.9") -> LogEvent:
    return event(second, program="sshd", kind=Kind.LOGIN, success=success, user=user, source_ip=address)


def test_event_count_is_a_threshold(tmp_path: Path) -> None:
    text = correlation("event_count", "failed", "    condition: {gte: 3}")
    inside = [login(second, False) for second in (0, 30, 59)]
    [found] = alerts(tmp_path, [FAILED, text], inside)
    assert (found.rule, found.level, found.count) == ("together", Level.CRITICAL, 3)
    outside = [login(second, False) for second in (0, 30, 60)]
    assert alerts(tmp_path, [FAILED, text], outside) == []
    more = [login(second, False) for second in (0, 10, 20, 30)]
    assert len(alerts(tmp_path, [FAILED, text.replace("gte: 3", "gt: 3")], more)) == 1


def test_value_count_counts_different_values(tmp_path: Path) -> None:
    text = correlation("value_count", "failed", "    condition: {gte: 3, field: user}")
    same = [login(second, False) for second in range(9)]
    assert alerts(tmp_path, [FAILED, text], same) == []
    assert len(alerts(tmp_path, [FAILED, text], [login(n, False, user) for n, user in enumerate("abc")])) == 1


def test_correlations_group_and_count_by_any_field_of_an_event(tmp_path: Path) -> None:
    refused = """
title: Refused
name: refused
logsource: {product: windows, service: security}
detection:
    selection: {EventID: 4625}
    condition: selection
"""
    text = correlation("value_count", "refused", "    condition: {gte: 2, field: TargetUserName}", by="IpAddress")
    events = [
        windows(4625, 0, TargetUserName="ann", IpAddress="1.1.1.1"),
        windows(4625, 1, TargetUserName="ann", IpAddress="1.1.1.1"),
        windows(4625, 2, TargetUserName="bob", IpAddress="2.2.2.2"),
    ]
    assert alerts(tmp_path, [refused, text], events) == []
    [found] = alerts(tmp_path, [refused, text], [*events, windows(4625, 3, TargetUserName="eve", IpAddress="1.1.1.1")])
    assert (found.count, found.by) == (2, {"field('IpAddress')": "1.1.1.1"})


def test_temporal_correlations_are_sequences(tmp_path: Path) -> None:
    ordered = correlation("temporal_ordered", "failed, accepted")
    forward, backward = [login(0, False), login(5, True)], [login(0, True), login(5, False)]
    assert len(alerts(tmp_path, [FAILED, ACCEPTED, ordered], forward)) == 1
    assert alerts(tmp_path, [FAILED, ACCEPTED, ordered], backward) == []
    any_order = correlation("temporal", "failed, accepted")
    assert len(alerts(tmp_path, [FAILED, ACCEPTED, any_order], forward)) == 1
    assert len(alerts(tmp_path, [FAILED, ACCEPTED, any_order], backward)) == 1
    assert alerts(tmp_path, [FAILED, ACCEPTED, any_order], [login(0, False), login(60, True)]) == []


# --- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([rule("a: {user: x}\ncondition: a", "product: okta")], ["'A test rule'", "0.yml", "product okta"]),
        ([rule("a: {user|minute: 5}\ncondition: a")], ["'A test rule'", "0.yml", "parts of times"]),
        ([rule("a: {user|nonsense: 5}\ncondition: a")], ["0.yml", "nonsense"]),
        ([rule("a: {user: 5}\ncondition: b")], ["0.yml", "b"]),
        (["title: [unclosed"], ["0.yml"]),
        (["just text"], ["0.yml"]),
        ([FAILED, correlation("event_count", "failed", "    condition: {lt: 3}")], ["'Together'", "gte"]),
        ([FAILED, correlation("event_count", "failed", "    condition: {gte: 3}", by='"O\'x"')], ["'Together'", "O'x"]),
        ([FAILED, correlation("event_count", "missing", "    condition: {gte: 3}")], ["missing"]),
        ([FAILED, correlation("value_avg", "failed", "    condition: {gte: 3, field: pid}")], ["value_avg"]),
    ],
)
def test_rule_that_cannot_be_used_is_named_and_the_others_are_used(
    tmp_path: Path, texts: list[str], words: list[str]
) -> None:
    good = rule("a: {user: x}\ncondition: a").replace("A test rule", "A good one")
    found = read(tmp_path, *texts, good)
    assert "a-good-one" in [one.name for one in found.rules]
    assert found.problems
    for word in words:
        assert word in " ".join(found.problems)


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Sigma rules at"):
        read_sigma(tmp_path / "nowhere")


def test_without_pysigma_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sigma.collection", None)
    with pytest.raises(UsageError, match=r"pip install 'millstream\[sigma\]'"):
        read(tmp_path, FAILED)


def test_regular_expression_that_the_engine_does_not_know_is_a_problem(tmp_path: Path) -> None:
    found = read(tmp_path, rule("a: {user|re: '(?=x)y'}\ncondition: a"))
    assert found.rules == ()
    assert "0.yml" in found.problems[0]


def test_rules_with_one_title_have_different_names(tmp_path: Path) -> None:
    one = rule("a: {user: x}\ncondition: a", id="11111111-9d0a-4c65-b0d8-3d9d4f6a1b11")
    two = rule("a: {user: y}\ncondition: a", id="22222222-9d0a-4c65-b0d8-3d9d4f6a1b11")
    assert [one.name for one in read(tmp_path, one, two).rules] == ["a-test-rule", "a-test-rule-22222222"]


# --- in a configuration and on the command line -----------------------------------------------------------------------


def test_configuration_names_sigma_rules_beside_its_own(tmp_path: Path) -> None:
    written(tmp_path, FAILED, rule("a: {user: x}\ncondition: a", "product: okta"))
    found = parse_config(f"[[sigma]]\npath = {str(tmp_path)!r}\n[[sigma]]\npath = {str(tmp_path / '1.yml')!r}", "test")
    assert [one.name for one in found.rules] == ["failed-login"]
    assert len(found.unusable) == 2
    with pytest.raises(UsageError, match="two rules are called 'failed-login'"):
        parse_config(f"[[sigma]]\npath = {str(tmp_path)!r}\n" * 2, "test")


def test_check_says_how_many_rules_load_which_not_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, FAILED, rule("a: {user: x}\ncondition: a", "product: okta"))
    assert run(["logs", "check", "--sigma", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("not used: rule 'A test rule'")
    assert "product okta" in printed[0]
    assert printed[1] == "1 rules, 1 not used, 0 examples, 0 wrong"


def test_logs_has_alerts_by_sigma_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules, lines, config = tmp_path / "rules", tmp_path / "auth.log", tmp_path / "logs.toml"
    rules.mkdir()
    written(rules, FAILED)
    lines.write_text(f"{TEN.isoformat()} web sshd[1]: Failed password for ann from 203.0.113.9 port 4000 ssh2\n")
    config.write_text(f"[[source]]\nkind = 'files'\npaths = [{str(lines)!r}]\n")
    arguments = ["--config", str(config), "--sigma", str(rules), "--data", str(tmp_path / "data"), "--sealed"]
    assert run(["logs", *arguments, "--since", "2026-01-01", "--no-follow"]) == 0
    assert "[failed-login]" in capsys.readouterr().out
    assert run(["doctor", "--verify", "--data", str(tmp_path / "data")]) == 0
    assert "logs: 1 record as sealed" in capsys.readouterr().out


def test_configuration_turns_sealing_on() -> None:
    assert parse_config("[logs]\nsealed = true", "test").sealed
    with pytest.raises(UsageError, match="seald"):
        parse_config("[logs]\nseald = true", "test")


@pytest.mark.parametrize(
    ("detection", "wanted"),
    [
        ("selection:\n  cs-method: POST\n  sc-status: 200\ncondition: selection", [1, 3]),
        ("selection:\n  cs-uri-query|contains: '/shell.php?cmd='\ncondition: selection", [1]),
        ("selection:\n  cs-uri-query|contains: 'cmd=id'\ncondition: selection", [1, 3]),
        ("selection:\n  cs-uri-stem|endswith: '.php'\ncondition: selection", [1, 3]),
        ("selection:\n  c-uri: /index.html\ncondition: selection", [2]),
        ("selection:\n  c-useragent|contains: sqlmap\ncondition: selection", [1, 3]),
        ("selection:\n  cs-referer: http://a.example/\n  c-ip|cidr: 203.0.113.0/24\ncondition: selection", [2]),
    ],
)
def test_access_logs_of_any_web_server_are_of_log_source_webserver(
    tmp_path: Path, detection: str, wanted: list[int]
) -> None:
    access = [
        b'203.0.113.7 - - [01/Mar/2026:10:00:01 +0000] "POST /shell.php?cmd=id HTTP/1.1" 200 5 "-" "sqlmap/1.7"',
        b'203.0.113.7 - - [01/Mar/2026:10:00:02 +0000] "GET /index.html HTTP/1.1" 304 0 "http://a.example/" "x"',
    ]
    iis = [
        b"#Fields: date time cs-method cs-uri-stem cs-uri-query c-ip cs(User-Agent) sc-status",
        b"2026-03-01 10:00:03 POST /a.php cmd=id 203.0.113.8 sqlmap/1.7 200",
    ]
    events = [
        *FORMATS["web"].parser("access.log").events(access, now=TEN),  # type: ignore[attr-defined]
        *FORMATS["w3c"].parser("iis.log").events(iis, now=TEN),  # type: ignore[attr-defined]
        event(4, message="POST cmd=id", program="app"),
    ]
    assert matched(tmp_path, detection, events, "category: webserver") == wanted
