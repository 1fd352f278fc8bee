"""Prometheus text: names with units, one value a line, labels escaped."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from millstream.errors import SettingsError
from millstream.queue.presence import ProcessReport
from millstream.queue.stats import QueueStats
from millstream.web.metrics import PROCESS_METRICS, QUEUE_METRICS, metrics_text
from millstream.web.operations import address_of

UNITS = (
    "_records",
    "_seconds",
    "_records_total",
    "_seconds_total",
    "_deliveries_total",
    "_workers",
    "_ratio",
    "_paused",
)
SAMPLE = re.compile(r'([a-z_]+)\{([a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*)\} (\S+)')


def queue(**changes: Any) -> QueueStats:
    report = ProcessReport("jobs", "work", "machine", 7, 0, 0, 3, 2, 100, 4, 2_500_000, 0, 0, 0, ())
    given: dict[str, Any] = {
        "topic": "jobs",
        "group": "work",
        "at_us": 0,
        "paused": False,
        "ready": 10,
        "leased": 2,
        "waiting": 1,
        "done": 80,
        "dead": 3,
        "expired": 1,
        "due": True,
        "next_due_us": None,
        "dead_letters": 2,
        "oldest": (0, 84),
        "oldest_age_s": 1.5,
        "window_s": 60.0,
        "arrival_per_s": 1.0,
        "finished_per_s": 0.5,
        "service_s": 0.025,
        "utilisation": 0.5,
        "drain_s": math.inf,
        "workers": 3,
        "busy": 2,
        "workers_needed": 1,
        "processes": (report,),
    }
    return QueueStats(**{**given, **changes})


def parsed(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[match[1]] = float(match[3])
    return found


def test_every_number_of_a_queue_is_there() -> None:
    numbers = parsed(metrics_text([queue()], set()))
    assert numbers == {
        "millstream_queue_ready_records": 10,
        "millstream_queue_leased_records": 2,
        "millstream_queue_waiting_records": 1,
        "millstream_queue_unsettled_records": 13,
        "millstream_queue_dead_letters_open_records": 2,
        "millstream_queue_oldest_age_seconds": 1.5,
        "millstream_queue_drain_seconds": math.inf,
        "millstream_queue_paused": 0,
        "millstream_queue_workers": 3,
        "millstream_queue_busy_workers": 2,
        "millstream_queue_needed_workers": 1,
        "millstream_queue_utilisation_ratio": 0.5,
        "millstream_queue_accepted_records_total": 97,
        "millstream_queue_done_records_total": 80,
        "millstream_queue_dead_records_total": 3,
        "millstream_queue_expired_records_total": 1,
        "millstream_queue_stalled": 0,
        "millstream_queue_deliveries_total": 100,
        "millstream_queue_failed_deliveries_total": 4,
        "millstream_queue_handler_seconds_total": 2.5,
    }


def test_names_end_in_their_unit_and_counters_in_total() -> None:
    for metric in (*QUEUE_METRICS, *PROCESS_METRICS):
        assert metric.name.endswith(UNITS), metric.name
        assert metric.name.endswith("_total") is (metric.kind == "counter"), metric.name


def test_every_family_has_help_and_type_once_before_its_samples() -> None:
    lines = metrics_text([queue(), queue(group="other")], {"jobs/other"}).splitlines()
    current = ""
    seen: list[str] = []
    for line in lines:
        if line.startswith("# HELP "):
            current = line.split()[2]
            seen.append(current)
        elif line.startswith("# TYPE "):
            assert line.split()[2] == current
        else:
            assert line.startswith(current + "{")
    assert len(seen) == len(set(seen))
    assert 'millstream_queue_stalled{topic="jobs",group="other"} 1' in lines
    assert 'millstream_queue_stalled{topic="jobs",group="work"} 0' in lines


def test_what_is_not_known_is_left_out() -> None:
    numbers = parsed(metrics_text([queue(utilisation=None, workers_needed=None, drain_s=None)], set()))
    assert "millstream_queue_utilisation_ratio" not in numbers
    assert "millstream_queue_needed_workers" not in numbers
    assert "millstream_queue_drain_seconds" not in numbers


def test_an_empty_queue_has_an_oldest_age_of_zero() -> None:
    assert (
        parsed(metrics_text([queue(oldest=None, oldest_age_s=None)], set()))["millstream_queue_oldest_age_seconds"] == 0
    )


def test_labels_are_escaped() -> None:
    text = metrics_text([queue(topic='a"b\\c\nd')], set())
    assert r'topic="a\"b\\c\nd"' in text
    parsed(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:1", ("::1", 1)),
        (":9464", ("127.0.0.1", 9464)),
        ("9464", ("127.0.0.1", 9464)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_an_address_without_a_host_is_loopback(text: str, address: tuple[str, int]) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:http", "localhost:65536", "x:y"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="give an address such as"):
        address_of(text)
