"""`millstream logs`: lines of a machine to events of one schema, and rules on them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.waiting import until

from millstream import App, UsageError
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.check import alerts_of, check_examples
from millstream.logs.rules import Example, Rule, parse_rules, read_rules
from millstream.logs.show import alert_line, event_line
from millstream.parsers.log_event import Kind
from millstream.parsers.log_lines import LogParser
from millstream.sources.files import FileSource

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


TEN_O_CLOCK = 1772359200


def at(second: float, message: str, program: str = "sshd[1]", *, start: float = TEN_O_CLOCK) -> str:
    """Return a line so many seconds after ten o'clock."""
    moment = datetime.fromtimestamp(start + second, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}+00:00 web {program}: {message}"


def failed(second: float, address: str = "203.0.113.9", user: str = "ann") -> str:
    return at(second, f"Failed password for {user} from {address} port 4000 ssh2")


def accepted(second: float, address: str = "203.0.113.9", user: str = "ann") -> str:
    return at(second, f"Accepted password for {user} from {address} port 4000 ssh2")


def rule(kind: str, where: str = "kind = 'login' AND NOT success", **options: str) -> Rule:
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    [found] = parse_rules(
        f'[[rule]]\nname = "r"\nwhere = {json.dumps(where)}\nmessage = "{{count}} of {{rule}}"\n{text}\n{kind}', "test"
    )
    return found


def alerts(found: Rule, *lines: str) -> list[Alert]:
    return alerts_of(found, Example(lines=list(lines), alerts=0))


THRESHOLD = '[rule.threshold]\ncount = 3\nwithin = "1m"\nby = ["source_ip"]'


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        ([0, 30, 59.999], 1),
        ([0, 30, 60], 0),
        ([59.999, 0, 30], 1),
        ([0, 59, 60, 61], 1),
        ([0, 1], 0),
        ([0, 1, 2, 3, 4, 5], 4),
    ],
)
def test_threshold_counts_in_event_time_whatever_the_order(seconds: list[float], wanted: int) -> None:
    assert len(alerts(rule(THRESHOLD), *map(failed, seconds))) == wanted


def test_threshold_is_quiet_for_a_while_after_an_alert() -> None:
    found = alerts(rule(THRESHOLD, quiet="10m"), *(failed(second) for second in (0, 1, 2, 3, 4, 603, 604, 605)))
    assert [alert.time.minute for alert in found] == [0, 10]


def test_threshold_counts_each_key_by_itself() -> None:
    lines = [failed(second, f"203.0.113.{second % 2}") for second in range(5)]
    [alert] = alerts(rule(THRESHOLD), *lines)
    assert (alert.by, alert.count, alert.message) == ({"source_ip": "203.0.113.0"}, 3, "3 of r")
    assert (alert.first.second, alert.time.second) == (0, 4)


def test_threshold_without_a_key_counts_all() -> None:
    found = rule('[rule.threshold]\ncount = 2\nwithin = "1m"')
    assert len(alerts(found, failed(0, "203.0.113.1"), failed(1, "203.0.113.2"))) == 1


SEQUENCE = """[rule.sequence]
then = "kind = 'login' AND success"
count = 2
within = "1m"
by = ["source_ip"]"""


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([failed(0), failed(1), accepted(2)], 1),
        ([failed(0), failed(1), accepted(60)], 0),
        ([failed(0.001), failed(1), accepted(60)], 1),
        ([failed(0), accepted(1), failed(2)], 0),
        ([failed(0), failed(1, "203.0.113.1"), accepted(2)], 0),
        ([failed(0), failed(1), accepted(2), accepted(3)], 1),
        ([failed(1), failed(0), accepted(2)], 1),
        ([accepted(2)], 0),
    ],
)
def test_sequence_is_failures_and_then_a_success_in_time(lines: list[str], wanted: int) -> None:
    assert len(alerts(rule(SEQUENCE), *lines)) == wanted


def test_first_seen_speaks_up_once_for_each_value_and_again_after_it_was_forgotten() -> None:
    found = rule('[rule.first_seen]\nby = ["user", "source_ip"]\nforget = "2h"', where="kind = 'login' AND success")
    lines = [accepted(0), accepted(10), accepted(20, user="bob"), accepted(7300)]
    assert [(alert.by["user"], alert.time.hour) for alert in alerts(found, *lines)] == [
        ("ann", 10),
        ("bob", 10),
        ("ann", 12),
    ]


def test_first_seen_learns_for_a_while_before_it_speaks_up() -> None:
    found = rule('[rule.first_seen]\nby = ["user"]\nlearn = "1h"', where="kind = 'login' AND success")
    lines = [accepted(0), accepted(3599, user="bob"), accepted(3600, user="eve"), accepted(3601, user="bob")]
    assert [alert.by["user"] for alert in alerts(found, *lines)] == ["eve"]


def test_absence_is_noticed_when_nothing_came_for_so_long() -> None:
    found = rule('[rule.absence]\nwithin = "5m"\nby = ["program"]', where="message = 'alive'")
    beats = [at(second, "alive", "agent[7]") for second in (0, 200, 400)]
    assert alerts(found, *beats, at(699, "x", "other")) == []
    [alert] = alerts(found, *beats, at(720, "x", "other"))
    assert (alert.by, alert.time) == ({"program": "agent"}, datetime(2026, 3, 1, 10, 11, 40, tzinfo=UTC))


RATE = '[rule.rate]\nfactor = 3\nwindow = "1m"\nbefore = 5\ncount = 4'


@pytest.mark.parametrize(
    ("by_minute", "wanted"),
    [([1, 1, 1, 1, 4], 1), ([1, 1, 1, 1, 3], 0), ([2, 2, 2, 6], 0), ([2, 2, 2, 7], 1), ([9], 0), ([4, 0, 0, 0, 5], 1)],
)
def test_rate_is_compared_with_the_mean_of_the_windows_before(by_minute: list[int], wanted: int) -> None:
    lines = [failed(minute * 60 + n) for minute, count in enumerate(by_minute) for n in range(count)]
    assert len(alerts(rule(RATE), *lines)) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[rule]]\nname = 'r'\nmessage = ''", ["rule 1 ('r')", "one of threshold"]),
        ("[[rule]]\nname = 'R!'\nmessage = ''", ["small letters"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD}\n{RATE}", ["threshold and rate"]),
        (f"[[rule]]\nname = 'r'\nmessage = '{{nobody}}'\n{THRESHOLD}", ["{nobody}", "source_ip"]),
        (f"[[rule]]\nname = 'r'\nmessage = '{{user.name}}'\n{THRESHOLD}", ["{user.name}"]),
        (f"[[rule]]\nname = 'r'\nmessage = '{{'\n{THRESHOLD}", ["message"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\nwhere = 'who = 1'\n{THRESHOLD}", ["where", "'who'"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\nwhere = 'kind = '\n{THRESHOLD}", ["where", "SQL"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\nwhere = 'pid = kind'\n{THRESHOLD}", ["where"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\nlevel = 'loud'\n{THRESHOLD}", ["loud"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\ncolour = 'red'\n{THRESHOLD}", ["colour"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD.replace('1m', 'soon')}", ["within", "soon"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD.replace('1m', '0s')}", ["too short"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD.replace('3', '0')}", ["count", "0"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD.replace('source_ip', 'ip')}", ["by", "'ip'"]),
        (f"[[rule]]\nname = 'r'\nmessage = ''\n{THRESHOLD}\n" * 2, ["two rules"]),
        ("[[rule", ["test.toml"]),
    ],
)
def test_wrong_rules_file_says_which_rule_and_what(text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_rules(text, "test.toml")
    for word in ["test.toml", *words]:
        assert word in str(raised.value)


def test_rules_that_come_along_do_what_their_examples_say() -> None:
    outcomes = check_examples(read_rules())
    assert len(outcomes) >= 7
    assert [one for one in outcomes if not one.is_right] == []


def test_lines_of_a_file_become_events_and_alerts_each_once_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    path.write_text("")
    yesterday = time.time() // 60 * 60 - 86_400
    for n in range(3):
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, read_rules())
            with logs.following([FileSource([path])]) as follower:
                with path.open("a") as file:
                    message = f"Failed password for ann from 203.0.113.{n} port 4000 ssh2"
                    file.writelines(f"{at(600 * n + second, message, start=yesterday)}\n" for second in range(5))
                until(lambda follower=follower: follower.records == 5, "the lines were stored")  # type: ignore[misc]
    with App(tmp_path / "log.db") as app:
        logs = LogsApplication(app, read_rules())
        logs.catch_up([FileSource([path], follow=False)])
        events = [record.value for record in logs.events.read(0, records_max=100)]
        assert [event.kind for event in events if event.source == str(path)] == [Kind.LOGIN] * 15
        said = [record.value.message for record in logs.alerts.read(0)]
        assert said == [f"5 failed logins from 203.0.113.{n} within 1m, the last as ann" for n in range(3)]


def test_rule_that_is_taken_out_or_added_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    one, other = rule(THRESHOLD), parse_rules(f"[[rule]]\nname = 'other'\nmessage = 'm'\n{THRESHOLD}", "t")[0]
    parser = LogParser("x", zone=UTC)
    for number, rules in enumerate(([one], [one, other], [one], [])):
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, rules)
            logs.events.extend(parser.events([failed(number).encode()], now=NOW))
            logs.catch_up([])
            said = [record.value for record in logs.alerts.read(0)]
    assert [(alert.rule, alert.time.second) for alert in said] == [("r", 2)]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (failed(0), "ann failed to log in from 203.0.113.9 (password)"),
        (accepted(0), "ann logged in from 203.0.113.9 (password)"),
        (at(0, "Invalid user eve from 203.0.113.9 port 1"), "unknown user: eve from 203.0.113.9"),
        (at(0, "pam_unix(sshd:session): session closed for user ann"), "ann logged out"),
        (at(0, "ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/id", "sudo"), "ann acts as root: /bin/id"),
        (at(0, "delete user 'eve'", "userdel[2]"), "eve: user removed"),
        (at(0, "hello \x1b[31mred", "app[3]"), r"app[3]: hello \x1b[31mred"),
    ],
)
def test_event_is_shown_in_words_and_without_control_characters(line: str, shown: str) -> None:
    [event] = LogParser("x", zone=UTC).events([line.encode()], now=NOW)
    assert event_line(event).endswith(shown)
    assert shown in event_line(event, color=True)


def test_alert_is_shown_with_its_rule() -> None:
    [alert] = alerts(rule(THRESHOLD, level="high"), *(failed(second) for second in range(3)))
    assert alert_line(alert).split(" ", 2)[2].split() == ["ALERT", "high", "3", "of", "r", "[r]"]


def millstream(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line, and return what it said, but for the progress that a slow machine is told of."""
    command = [sys.executable, "-m", "millstream", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=250, check=False)
    done.stderr = re.sub(r"^[^:\n]+: .*records?, \S+ a second\n", "", done.stderr, flags=re.MULTILINE)
    return done


def test_command_checks_a_rules_file(tmp_path: Path) -> None:
    lines = json.dumps([failed(second) for second in range(3)])
    text = f"[[rule]]\nname = 'r'\nmessage = 'm'\n{THRESHOLD}\n[[rule.example]]\nlines = {lines}\nalerts = "
    (tmp_path / "right.toml").write_text(text + "1")
    (tmp_path / "wrong.toml").write_text(text + "2")
    done = millstream("logs", "check", "right.toml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "r, example 1: 1 alerts, right: m\n1 rules, 1 examples, 0 wrong\n")
    done = millstream("logs", "check", "wrong.toml", "--json", folder=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["right"] is False
    done = millstream("logs", "check", "no.toml", folder=tmp_path)
    assert done.returncode == 2
    assert "no.toml" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--only", "noise"], "noise"),
        (["--where", "who = 1"], "who"),
        (["--since", "start"], "--since"),
        (["--since", "yesterday"], "--since is 'yesterday'"),
        (["check"], "FILE"),
    ],
)
def test_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], word: str) -> None:
    done = millstream("logs", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr
    assert not (tmp_path / "millstream-logs").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the listeners of Linux")
def test_command_shows_what_there_is_and_follows_until_ctrl_c(tmp_path: Path) -> None:
    done = millstream("logs", "--no-follow", "--all", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all({"event", "alert", "dropped"} & json.loads(line).keys() for line in done.stdout.splitlines())
    (tmp_path / "app.log").write_text("2026-03-01T10:00:00Z web app: it began\n")
    options = ["--all", "--read", "app.log", "--since", "2026-01-01T00:00Z", "--data", "read"]
    command = [sys.executable, "-m", "millstream", "logs", *options]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert b"it began" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()
