"""Templates of lines: how well they are told apart, on labelled sets such as those of LogHub.

The sets are not part of this repository, as their licence is their own: `MILLSTREAM_LOGHUB` names a folder with files
`NAME_structured.csv` whose columns `Content` and `EventId` say what a line is, as the 2k sets of LogHub have
(github.com/logpai/loghub).
"""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.harness import Options, Report
from millstream.parsers.templates import TemplateMiner

VARIABLE: Final = "MILLSTREAM_LOGHUB"
ENDING: Final = "_structured.csv"
WANTED: Final = 0.85
DEVELOPMENT: Final = frozenset(
    {"Apache", "HDFS", "Hadoop", "Linux", "OpenSSH", "Proxifier", "Thunderbird", "Zookeeper"}
)
"""Every second set of the alphabet: masks and thresholds were chosen by looking at these."""
SEEN: Final = frozenset({"OpenStack", "Spark"})
"""Sets of the other half whose results were looked at before a change; what is left is held out."""
LINES: Final = 2_000
"""Of a whole 2k set."""


def measure(options: Options) -> Report:
    report = Report(
        "logs_template_accuracy",
        "Grouping accuracy 0.85 as the mean over the public labelled sets, with one set of masks.",
        {
            "grouping accuracy": "share of lines whose template has exactly the lines of their label",
            "Millstream": "TemplateMiner as it is, all lines in one batch",
            "drain3": "as it is, without masks" if find_spec("drain3") else "not installed: pip install drain3",
            "development sets": f"masks and thresholds were chosen by {', '.join(sorted(DEVELOPMENT))}",
            "seen sets": f"one result of each was looked at: {', '.join(sorted(SEEN))}; the other sets are held out",
        },
    )
    directory = os.environ.get(VARIABLE)
    files = sorted(Path(directory).rglob(f"*{ENDING}")) if directory else []
    if not files:
        report.findings.append(f"Nothing was measured: {VARIABLE} names no folder with files *{ENDING}.")
        return report
    _measure(report, files)
    return report


def _measure(report: Report, files: Sequence[Path]) -> None:
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    peer = find_spec("drain3")
    total = 0
    for file in files:
        name = file.name.removesuffix(ENDING).removesuffix(".log").removesuffix("_2k")
        lines, labels = labelled(file)
        total += len(lines)
        ours[name] = grouping_accuracy(TemplateMiner().add(lines).to_list(), labels)
        note = f"{len(lines):,} lines of {len(set(labels)):,} labels"
        if peer:
            theirs[name] = grouping_accuracy(_peer(lines), labels)
            note += f"; drain3 {theirs[name]:.3f}"
        report.add(name, [ours[name]], "", note=note)
    whole = total >= LINES * len(files)
    halves = {
        "mean of the development sets": ours.keys() & DEVELOPMENT,
        "mean of the held-out sets": ours.keys() - DEVELOPMENT - SEEN,
        "mean of all sets": ours.keys(),
    }
    for what, names in halves.items():
        if names:
            note = f"drain3 {_mean(theirs, names):.3f}" if peer else ""
            row = report.add(what, [_mean(ours, names)], "", reach=f"{WANTED}", note=note)
            row.reached = row.median >= WANTED if whole else None
    if not whole:
        report.findings.append(
            f"These are parts of the sets: {total:,} of {LINES * len(files):,} lines. Templates that are rare in the "
            "whole sets are missing here, so whether the claim is reached is not said."
        )


def labelled(file: Path) -> tuple[list[str], list[str]]:
    """Return the lines of a labelled set, and which event each of them is."""
    frame = pl.read_csv(file, columns=["Content", "EventId"], infer_schema=False).with_columns(
        pl.all().fill_null("")  # a line without any text is one, too
    )
    return frame["Content"].to_list(), frame["EventId"].to_list()


def grouping_accuracy(found: Sequence[Hashable], labels: Sequence[Hashable]) -> float:
    """Return the share of lines whose group is exactly that of their label: none missing, none too many."""
    sizes, wanted = Counter(found), Counter(labels)
    both = Counter(zip(found, labels, strict=True))
    right = sum(count for (group, label), count in both.items() if sizes[group] == wanted[label] == count)
    return right / len(labels) if labels else 1.0


def _mean(values: dict[str, float], names: Collection[str]) -> float:
    return sum(values[name] for name in names) / len(names)


def _peer(lines: Sequence[str]) -> list[int]:
    miner = importlib.import_module("drain3").TemplateMiner()
    return [miner.add_log_message(line)["cluster_id"] for line in lines]
