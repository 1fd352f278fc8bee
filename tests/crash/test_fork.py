"""A child that was forked while an engine is open uses connections of its own; nothing is lost or damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import read_values

SCRIPT = Path(__file__).with_name("forking_process.py")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@pytest.mark.parametrize("how", ["fork", "multiprocessing", "busy"])
def test_forked_children_and_their_parent_append_to_one_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "x.db"
    # Python warns of forking with threads: that it works is the point here.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(SCRIPT), how, str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stderr
    engine = SqliteEngine(path)
    assert engine.check() == []
    start, values = read_values(engine, "events")
    engine.close()
    assert start == 0
    appends: dict[bytes, list[int]] = {}
    for value in values:
        name, _, call = value.partition(b":")
        appends.setdefault(name, []).append(int(call))
    for name in (b"parent", b"child0", b"child1", b"child2"):
        assert appends.pop(name) == list(range(100))
    assert appends.pop(b"before") == appends.pop(b"after") == [0]
    assert sorted(appends) == ([b"thread%d" % number for number in range(4)] if how == "busy" else [])
    for calls in appends.values():
        assert calls == list(range(len(calls)))
