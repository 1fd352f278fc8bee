"""The accuracy of templates: how it is counted, and how labelled sets are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.harness import Options
from benchmarks.logs import template_accuracy
from benchmarks.logs.template_accuracy import grouping_accuracy, labelled

SET = """LineId,Content,EventId,EventTemplate
1,"job 7 took 3 ms",E1,"job <*> took <*> ms"
2,"job 8 took 4 ms",E1,"job <*> took <*> ms"
3,"disk ""sda"" is nearly full, again",E2,"disk <*> is nearly full, again"
4,,E3,
"""


@pytest.mark.parametrize(
    ("found", "labels", "share"),
    [
        ([1, 1, 2], ["a", "a", "b"], 1.0),
        ([1, 1, 1], ["a", "a", "b"], 0.0),  # one group too large: none of its lines counts
        ([1, 2, 3], ["a", "a", "b"], 1 / 3),  # one label in two groups: only the other counts
        ([1, 1, 2, 2], ["a", "b", "a", "b"], 0.0),
        ([], [], 1.0),
    ],
)
def test_only_whole_groups_count(found: list[int], labels: list[str], share: float) -> None:
    assert grouping_accuracy(found, labels) == pytest.approx(share)


def test_labelled_set_is_read(tmp_path: Path) -> None:
    file = tmp_path / "Jobs_2k.log_structured.csv"
    file.write_text(SET)
    lines, labels = labelled(file)
    assert lines == ["job 7 took 3 ms", "job 8 took 4 ms", 'disk "sda" is nearly full, again', ""]
    assert labels == ["E1", "E1", "E2", "E3"]


def test_sets_of_a_folder_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Jobs_2k.log_structured.csv").write_text(SET)
    monkeypatch.setenv(template_accuracy.VARIABLE, str(tmp_path))
    report = template_accuracy.measure(Options(tmp_path))
    rows = {row.what: row for row in report.rows}
    assert rows["Jobs"].median == 1.0
    assert rows["mean of the held-out sets"].reached is None, "four lines are no whole set"
    assert "4 of 2,000 lines" in report.findings[0]


def test_claim_is_judged_on_whole_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"{number},job {number} took 3 ms,E1,\n" for number in range(2000))
    (tmp_path / "Jobs_2k.log_structured.csv").write_text("LineId,Content,EventId,EventTemplate\n" + lines)
    monkeypatch.setenv(template_accuracy.VARIABLE, str(tmp_path))
    report = template_accuracy.measure(Options(tmp_path))
    assert report.rows[-1].reached
    assert not report.findings


def test_without_sets_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(template_accuracy.VARIABLE, raising=False)
    [finding] = template_accuracy.measure(Options(tmp_path)).findings
    assert "MILLSTREAM_LOGHUB" in finding
