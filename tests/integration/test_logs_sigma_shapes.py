"""Sigma rules in the shapes that public rules have: which are used and find what they should, which are refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream import App
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.sigma import SigmaRules, read_sigma
from millstream.logs.sigma_windows import CATEGORIES, CHANNELS
from millstream.parsers.log_event import LogEvent
from millstream.sources.audit import AuditSource
from millstream.sources.source import Source

pytest.importorskip("sigma", reason="pySigma is not installed: pip install 'millstream[sigma]'")

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
SYSMON = "Microsoft-Windows-Sysmon/Operational"


def event(second: float = 0, **more: Any) -> LogEvent:
    return LogEvent(time=TEN + timedelta(seconds=second), **{"source": "t", "message": "", "raw": "", **more})


def windows(second: float, channel: str, event_id: int, **data: Any) -> LogEvent:
    return event(second, format="windows", fields={"channel": channel, "event_id": event_id, **data})


def rule(detection: str, logsource: str = "product: linux", title: str = "One") -> str:
    indented = "\n".join(f"    {line}" for line in detection.strip("\n").splitlines())
    return f"title: {title}\nname: {title.lower()}\nlogsource: {{{logsource}}}\ndetection:\n{indented}\n"


def read(folder: Path, *texts: str) -> SigmaRules:
    for number, text in enumerate(texts):
        (folder / f"{number}.yml").write_text(text)
    return read_sigma(folder)


def alerts(folder: Path, text: str, events: Sequence[LogEvent] = (), sources: Sequence[Source] = ()) -> list[Alert]:
    found = read(folder, text)
    assert found.problems == ()
    with App("memory://") as app:
        logs = LogsApplication(app, found.rules)
        logs.events.extend(events)
        logs.catch_up(sources)
        return [record.value for record in logs.alerts.read(0, records_max=1000)]


def seconds(found: Sequence[Alert]) -> list[int]:
    return [round((alert.time - TEN).total_seconds()) for alert in found]


# --- conditions and modifiers ---------------------------------------------------------------------------------------

TYPICAL = """
selection_img:
    - Image|endswith: '/curl'
    - OriginalName: curl
selection_cli:
    CommandLine|contains|all:
        - ' -o '
        - /tmp/
filter_main_updater:
    CommandLine|startswith: curl https://updates.example.com/
filter_optional_agent:
    User: agent
condition: all of selection_* and not 1 of filter_main_* and not 1 of filter_optional_*
"""


def test_rule_of_selections_and_filters_finds_what_is_left(tmp_path: Path) -> None:
    commands = [
        ("/usr/bin/curl https://a/ -o /tmp/x", "ann"),
        ("curl https://updates.example.com/a -o /tmp/x", "ann"),
        ("/usr/bin/curl https://a/ -o /tmp/x", "agent"),
        ("/usr/bin/curl https://a/ -o /home/x", "ann"),
        ("/usr/bin/wget https://a/ -o /tmp/x", None),
        ("/usr/bin/curl https://a/ -o /tmp/x", None),
    ]
    events = [event(second, command=command, user=user) for second, (command, user) in enumerate(commands)]
    found = alerts(tmp_path, rule(TYPICAL, "product: linux, category: process_creation"), events)
    assert seconds(found) == [0, 5]


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ("user|fieldref: target_user", [0]),
        ("user|fieldref|startswith: target_user", [0, 1]),
        ("user|fieldref|endswith: target_user", [0, 2]),
        ("user|neq: A.b", [1, 2, 3, 4]),
        ("user|re|i: '^a.b$'", [0, 4]),
        ("user|contains|windash: ' -x'", []),
        ("user|base64|contains: a.b", []),
        ("source_ip|cidr: 'fe80::/10'", [4]),
    ],
)
def test_modifiers(tmp_path: Path, selection: str, wanted: list[int]) -> None:
    users = ["A.B", "a.bc", "xa.b", "xa.bx", "aXb"]
    events = [
        event(second, user=user, target_user="a.b", source_ip="fe80::1" if user == "aXb" else "1.2.3.4")
        for second, user in enumerate(users)
    ]
    assert seconds(alerts(tmp_path, rule(f"selection:\n    {selection}\ncondition: selection"), events)) == wanted


@pytest.mark.parametrize(
    ("detection", "words"),
    [
        ("a: {user: x}\ncondition: 2 of them", "Expected end of text"),
        ("a: {user: x}\ncondition: a | count() by user > 5", "correlations"),
        ("a: {user: x}\ncondition: near a", "Expected end of text"),
        ("a: {user|expand: '%admins%'}\ncondition: a", "placeholder"),
        ("a: {user|utf16le: y}\ncondition: a", "utf16le"),
        ("a: {user|hour: 5}\ncondition: a", "parts of times"),
        ("a: {user|fieldref|contains: host}\ncondition: a", "contains another"),
    ],
)
def test_shape_that_is_not_supported_is_a_sentence(tmp_path: Path, detection: str, words: str) -> None:
    found = read(tmp_path, rule(detection))
    assert found.rules == ()
    assert "0.yml" in found.problems[0]
    assert words in found.problems[0]


# --- Windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logsource", "wanted"),
    [
        ("category: file_event", [1]),
        ("category: registry_set", [2]),
        ("category: registry_event", [2, 3]),
        ("category: network_connection", [4]),
        ("category: process_creation", [5, 6]),
        ("category: process_creation, service: security", [6]),
        ("category: ps_script", [7]),
        ("service: sysmon", [1, 2, 3, 4, 5]),
        ("service: applocker", [8]),
        ("service: openssh", [9]),
    ],
)
def test_category_or_service_of_windows_says_which_events(tmp_path: Path, logsource: str, wanted: list[int]) -> None:
    data = {"Image": "C:\\x.exe"}
    events = [
        windows(0, "Security", 4624, **data),
        windows(1, SYSMON, 11, **data),
        windows(2, SYSMON, 13, **data),
        windows(3, SYSMON, 12, **data),
        windows(4, SYSMON, 3, **data),
        windows(5, SYSMON, 1, **data),
        windows(6, "Security", 4688, NewProcessName="C:\\x.exe", Image="C:\\x.exe"),
        windows(7, "Microsoft-Windows-PowerShell/Operational", 4104, **data),
        windows(8, "Microsoft-Windows-AppLocker/MSI and Script", 8007, **data),
        windows(9, "OpenSSH/Operational", 4, **data),
    ]
    text = rule("selection:\n    Image|endswith: '\\x.exe'\ncondition: selection", f"product: windows, {logsource}")
    assert seconds(alerts(tmp_path, text, events)) == wanted


@pytest.mark.parametrize("name", [*CATEGORIES, *CHANNELS])
def test_every_category_and_service_of_windows_is_a_condition(tmp_path: Path, name: str) -> None:
    kind = "category" if name in CATEGORIES else "service"
    found = read(tmp_path, rule("a:\n    EventID: 1\ncondition: a", f"product: windows, {kind}: {name}"))
    assert (len(found.rules), found.problems) == (1, ())


def test_page_lists_the_categories_and_services_of_windows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "logs-sigma.md").read_text()
    assert [name for name in (*CATEGORIES, *CHANNELS) if name not in page] == []


# --- auditd ----------------------------------------------------------------------------------------------------------

AUDIT = """\
type=SYSCALL msg=audit(1772359200.123:45): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 ppid=1 pid=77 auid=1000 uid=0 comm="cat" exe="/usr/bin/cat" key="x"
type=EXECVE msg=audit(1772359200.123:45): argc=2 a0="cat" a1="/etc/shadow"
type=CWD msg=audit(1772359200.123:45): cwd="/root"
type=PATH msg=audit(1772359200.123:45): item=0 name="/usr/bin/cat" inode=1 mode=0100755 nametype=NORMAL
type=PATH msg=audit(1772359200.123:45): item=1 name="/lib64/ld-linux-x86-64.so.2" inode=2 mode=0100755 nametype=NORMAL
type=EOE msg=audit(1772359200.123:45):
type=USER_LOGIN msg=audit(1772359201.500:46): pid=1 uid=0 auid=4294967295 ses=1 msg='op=login acct="ann" exe="/usr/sbin/sshd" addr=1.2.3.4 res=failed'
"""  # noqa: E501 - as the kernel writes them


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ("type: EXECVE\n    a0: cat\n    a1|startswith: /etc/", 1),
        ("type: EXECVE\n    a0: '1'", 0),
        ("type: SYSCALL\n    a0: '1'\n    exe|endswith: /cat", 1),
        ("type: SYSCALL\n    a0: cat", 0),
        ("type: PATH\n    name|contains: ld-linux\n    nametype: NORMAL", 1),
        ("type: PATH\n    item: 0\n    name|contains: ld-linux", 0),
        ("type: CWD\n    cwd: /root", 1),
        ("a1: /etc/shadow", 1),
        ("type: USER_LOGIN\n    acct: ann", 1),
        ("type: [EXECVE, PATH]", 1),
    ],
)
def test_each_record_of_an_event_of_auditd_is_looked_at_by_itself(tmp_path: Path, selection: str, wanted: int) -> None:
    log = tmp_path / "audit.log"
    log.write_text(AUDIT)
    text = rule(f"selection:\n    {selection}\ncondition: selection", "product: linux, service: auditd")
    (tmp_path / "rules").mkdir()
    assert len(alerts(tmp_path / "rules", text, sources=[AuditSource([log], follow=False)])) == wanted


# --- correlations ----------------------------------------------------------------------------------------------------

FAILED = rule("a:\n    action: login_failed\ncondition: a", title="Failed")
ENDED = rule("a:\n    action: login\ncondition: a", title="Ended")


def correlation(type: str, rest: str = "", rules: str = "failed") -> str:
    return (
        f"title: Together\ncorrelation:\n    type: {type}\n    rules: [{rules}]\n    group-by: [source_ip]\n"
        f"    timespan: 5m\n{rest}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (correlation("event_count", "    condition: {eq: 3}"), "gte"),
        (correlation("event_count", "    condition: {gte: 3, lte: 9}"), "exactly one"),
        (correlation("value_sum", "    condition: {gte: 3, field: pid}"), "value_sum"),
        (correlation("temporal", rules="failed, ended, missing"), "missing"),
        (
            correlation("temporal", "    aliases: {source_ip: {failed: user}}", rules="failed, ended"),
            "the alias source_ip says nothing of its rule ended",
        ),
        (correlation("event_count", "    condition: {gte: 3}\n    aliases: {a: {failed: user}}"), "temporal"),
        (correlation("temporal", rules="failed"), "2 to 8 rules"),
        (correlation("temporal", "    condition: {gte: 3}", rules="failed, ended"), "more than the 2 rules"),
        (correlation("temporal", "    condition: {lt: 2}", rules="failed, ended"), "when the time is over"),
        (correlation("temporal", "    condition: failed and not ended", rules="failed, ended"), "a and b and c"),
        (correlation("temporal_ordered", "    condition: {gte: 1}", rules="failed, ended"), "all its rules"),
        (correlation("temporal_ordered", "    condition: failed or ended", rules="failed, ended"), "a and b and c"),
        (correlation("nonsense", "    condition: {gte: 3}"), "nonsense"),
    ],
)
def test_rules_of_a_correlation_that_cannot_be_used_do_not_speak_up_by_themselves(
    tmp_path: Path, text: str, words: str
) -> None:
    found = read(tmp_path, FAILED, ENDED, text, rule("a:\n    user: x\ncondition: a", title="Other"))
    # A rule that no correlation is about goes on.
    assert [one.name for one in found.rules] == (["other"] if "ended" in text else ["ended", "other"])
    assert words in " ".join(found.problems)


def test_rules_of_a_correlation_speak_up_by_themselves_where_it_says_so(tmp_path: Path) -> None:
    text = correlation("event_count", "    condition: {gte: 3}\n    generate: true")
    assert sorted(one.name for one in read(tmp_path, FAILED, text).rules) == ["failed", "together"]
    assert [one.name for one in read(tmp_path, FAILED, text.replace("true", "false")).rules] == ["together"]


@pytest.mark.parametrize(("last", "wanted"), [(299, 1), (300, 0)])
@pytest.mark.parametrize(
    ("type", "more"),
    [("event_count", "{gte: 3}"), ("event_count", "{gt: 2}"), ("value_count", "{gte: 3, field: user}")],
)
def test_counts_just_inside_and_just_outside_their_time(
    tmp_path: Path, type: str, more: str, last: int, wanted: int
) -> None:
    found = read(tmp_path, FAILED, correlation(type, f"    condition: {more}"))
    assert found.problems == ()
    events = [event(at, action="login_failed", source_ip="1.2.3.4", user=f"u{at}") for at in (0, 100, last)]
    other = event(150, action="login_failed", source_ip="1.2.3.5", user="other")
    with App("memory://") as app:
        logs = LogsApplication(app, found.rules)
        logs.events.extend([events[2], other, events[0], events[1]])
        app.run(until="now")
        assert len(logs.alerts.read(0)) == wanted
