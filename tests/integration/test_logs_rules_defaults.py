"""The rules that come along: what happens every day leads to no alert, what should be looked at to one."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millstream import App
from millstream.logs.application import LogsApplication
from millstream.logs.rules import read_rules
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.log_lines import LogParser

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "logs-rules.md"


def line(day: float, message: str, program: str = "sshd[7]", host: str = "web") -> str:
    return f"{(START + timedelta(days=day)).isoformat()} {host} {program}: {message}"


def events(lines: list[str]) -> list[LogEvent]:
    parser = LogParser("t", zone=UTC)
    return list(parser.events([one.encode() for one in sorted(lines)], now=START + timedelta(days=60)))


def alerts(found: list[LogEvent]) -> Counter[str]:
    with App("memory://") as app:
        logs = LogsApplication(app, read_rules())
        logs.events.extend(found)
        app.run(until="now")
        return Counter(record.value.rule for record in logs.alerts.read(0, records_max=10_000))


SECOND = 1 / 86_400


def working_day(day: int) -> list[str]:
    """Return a day of a machine that three people use, one of whom mistypes a password now and then."""
    made = [
        line(day + 0.01, "Failed publickey for ann from 10.0.0.7 port 4000 ssh2: RSA SHA256:old"),
        line(day + 0.01, "Accepted publickey for ann from 10.0.0.7 port 4000 ssh2: RSA SHA256:new"),
        *(line(day + 0.02 + n * SECOND, "Failed password for bob from 10.0.0.8 port 4000 ssh2") for n in range(2)),
        line(day + 0.021, "Accepted password for bob from 10.0.0.8 port 4000 ssh2"),
        line(day + 0.03, "ann : TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/apt update", "sudo"),
        line(day + 0.04, "web.service: Failed with result 'exit-code'.", "systemd[1]"),
        line(day + 0.04, "Started web.service.", "systemd[1]"),
        line(day + 0.05, "(root) CMD (run-parts /etc/cron.hourly)", "CRON[9]"),
        line(day + 0.06, "Invalid user admin from 203.0.113.5 port 4000"),
        line(day + 0.07, "New session 7 of user ann.", "systemd-logind[3]"),
    ]
    return made


def test_a_month_of_working_days_leads_to_no_alert() -> None:
    assert alerts(events([one for day in range(30) for one in working_day(day)])) == Counter()


def test_a_break_in_leads_to_an_alert_of_each_step() -> None:
    usual = [one for day in range(10) for one in working_day(day)]
    names = ("admin", "oracle", "test", "git", "ubuntu", "pi")
    attack = [
        *(line(9.5 + n * SECOND, f"Invalid user {name} from 203.0.113.9 port 4000") for n, name in enumerate(names)),
        *(line(9.6 + n * SECOND, "Failed password for ann from 203.0.113.9 port 4000 ssh2") for n in range(30)),
        line(9.6 + 40 * SECOND, "Accepted password for ann from 203.0.113.9 port 4000 ssh2"),
        line(9.61, "ann : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "sudo"),
        line(9.62, "eve : TTY=pts/1 ; PWD=/ ; USER=root ; COMMAND=/bin/sh", "sudo"),
        line(9.63, "new user: name=mallory, UID=1001, GID=1001, home=/home/mallory, shell=/bin/sh", "useradd[9]"),
        line(9.63, "add 'mallory' to group 'sudo'", "usermod[9]"),
        line(9.63, "add 'mallory' to shadow group 'sudo'", "usermod[9]"),
    ]
    assert alerts(events(usual + attack)) == Counter(
        {
            "user-name-guessing": 1,
            "login-guessing": 1,
            "guessed-login": 1,
            "login-from-new-address": 1,
            "privilege-refused": 1,
            "privilege-of-a-new-user": 1,
            "account-added": 1,
            "administrator-made": 1,
        }
    )


def test_one_user_tried_from_many_addresses_is_an_alert_though_no_address_is() -> None:
    tries = [line(n * 200 * SECOND, f"Failed password for ann from 203.0.113.{n} port 4000 ssh2") for n in range(30)]
    assert alerts(events(tries)) == Counter({"login-guessing-from-many": 1})


def test_service_that_is_new_after_a_week_is_an_alert_but_not_those_of_defender() -> None:
    def installed(day: float, service: str) -> LogEvent:
        moment = START + timedelta(days=day)
        return LogEvent(time=moment, source="t", message="m", kind=Kind.SERVICE, action="installed", service=service)

    found = [installed(0, "Spooler"), installed(8, "Spooler"), installed(9, "MpKsl1"), installed(9, "PSEXESVC")]
    assert alerts(found) == Counter({"new-service": 1})


def test_page_lists_the_rules_and_their_levels() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (informational|low|medium|high|critical) \|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(rule.name, rule.level.value) for rule in read_rules()]
