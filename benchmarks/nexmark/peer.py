"""One run of a peer: its own process, and what it answered."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from benchmarks.nexmark.environments import HERE, python_of

QUERIES: Final = ("q1", "q5", "q7", "q8", "q11", "words")

_TIMEOUT_S: Final = 900


class PeerRun(msgspec.Struct, frozen=True):
    seconds: float
    """Without the start of its process and the reading of its code."""
    answer: pl.DataFrame


def run(peer: str, query: str, source: Path, target: Path) -> PeerRun:
    """Run a query over lines of JSON.

    Raises:
        CalledProcessError: The peer failed; what it printed is on stderr.
    """
    script = HERE / "peers" / f"{peer}_queries.py"
    done = subprocess.run(
        [str(python_of(peer)), str(script), query, str(source), str(target)],
        env={**os.environ, "PATHWAY_THREADS": "2", "PATHWAY_DISABLE_PROGRESS": "1"},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    if done.returncode:
        print(done.stderr[-4000:])
        done.check_returncode()
    seconds = msgspec.json.decode(done.stdout.splitlines()[-1])["seconds"]
    return PeerRun(seconds, _answer(target, query))


def _answer(target: Path, query: str) -> pl.DataFrame:
    files = [target] if target.is_file() else [file for file in target.rglob("part-*") if file.stat().st_size]
    frame = pl.concat([pl.read_ndjson(file, infer_schema_length=None) for file in files])
    if "diff" in frame.columns:  # Pathway adds it, and the time of its own
        frame = frame.drop("diff", "time")
    frame = frame.rename({"at": "time"}, strict=False)
    return frame.with_columns(_instant(name) for name in frame.columns if name.endswith(("time", "_start", "_end")))


def _instant(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String).str.replace(" ", "T").str.strip_suffix("Z")
    return text.str.to_datetime(time_unit="us", time_zone="UTC", format="%Y-%m-%dT%H:%M:%S%.f")
