"""What a process says of failing records: each of a few, and how many of very many."""

from __future__ import annotations

import logging

import pytest

from millstream.log.dead_letter import Failure
from millstream.queue.failures import LINE_EVERY_US, LINES_AT_ONCE, REASON_CHARACTERS_MAX, FailureLog
from millstream.records import Position
from millstream.testing import FakeClock

FAILURE = Failure("ValueError", "no such\nmailbox", "Traceback ...")


def failure_log(clock: FakeClock) -> FailureLog:
    return FailureLog("email", "tasks.email", clock=clock)


def test_a_failure_says_which_record_and_what_becomes_of_it(caplog: pytest.LogCaptureFixture) -> None:
    failures = failure_log(FakeClock())
    failures.again(Position(0, 3), FAILURE, attempt=1, delay_us=1_500_000)
    failures.given_up(Position(0, 3), FAILURE, attempts=2)
    failures.given_up(Position(1, 0), FAILURE, attempts=1)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "queue email: tasks.email:0:3 failed at attempt 1, again in 1.5 s: ValueError: no such mailbox",
        ),
        (
            logging.ERROR,
            "queue email: tasks.email:0:3 given up on after 2 attempts, now in tasks.email.dead: "
            "ValueError: no such mailbox",
        ),
        (
            logging.ERROR,
            "queue email: tasks.email:1:0 given up on after 1 attempt, now in tasks.email.dead: "
            "ValueError: no such mailbox",
        ),
    ]


def test_of_very_many_failures_a_few_are_told_and_the_rest_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    failures = failure_log(clock)
    for offset in range(1000):
        failures.given_up(Position(0, offset), FAILURE, attempts=1)
    assert len(caplog.records) == LINES_AT_ONCE
    clock.advance(LINE_EVERY_US / 1e6)
    failures.given_up(Position(0, 1000), FAILURE, attempts=1)
    failures.given_up(Position(0, 1001), FAILURE, attempts=1)
    assert len(caplog.records) == LINES_AT_ONCE + 1
    assert caplog.messages[-1].endswith(f"(and {1000 - LINES_AT_ONCE:,} more failures)")
    failures.close()
    assert caplog.messages[-1] == "queue email: 1 more failure"
    failures.close()
    assert len(caplog.records) == LINES_AT_ONCE + 2


def test_a_long_error_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    failure_log(FakeClock()).given_up(Position(0, 0), Failure("E", "x" * 10_000, ""), attempts=1)
    assert len(caplog.messages[0]) < REASON_CHARACTERS_MAX + 200
