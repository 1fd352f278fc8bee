"""`millstream logs` and how much of it is in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl

BLOCKS, ROWS, TEXT = 120, 5000, 600
WRITES = """
import json, resource, sys
from pathlib import Path
import polars as pl
from millstream.sinks.files.formats import FORMATS
from millstream.sinks.rows import Rows

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

blocks, count, text = map(int, sys.argv[1:])
parquet = FORMATS["parquet"]
with open("staged", "wb") as file:
    for block in range(blocks):
        numbers = range(block * count, (block + 1) * count)
        frame = pl.DataFrame({"number": numbers, "raw": [f"{n} ".ljust(text, "x") for n in numbers]})
        carried = pl.DataFrame({"_key": [None] * count, "_event_time": [None] * count})
        file.write(parquet.encode(Rows(carried, lambda frame=frame: frame), first=not block))
before = peak()
parquet.convert(Path("staged"), Path("ready.parquet"))
print(json.dumps([before, peak()]))
"""


def test_a_parquet_file_is_written_without_all_of_it_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES, *map(str, (BLOCKS, ROWS, TEXT))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    before, peak = json.loads(done.stdout)
    whole = BLOCKS * ROWS * TEXT  # 360 MB, of a few MB that are staged
    assert (tmp_path / "staged").stat().st_size < whole / 10
    if sys.platform == "linux":  # elsewhere it is in bytes
        assert (peak - before) * 1024 < whole / 2
    frame = pl.read_parquet(tmp_path / "ready.parquet")
    assert frame["number"].to_list() == list(range(BLOCKS * ROWS))
    assert frame["raw"].str.len_bytes().unique().to_list() == [TEXT]
