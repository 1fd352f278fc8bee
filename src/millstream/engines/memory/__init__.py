"""The memory engine: the shortest correct one, and the model that the others are compared with.

One lock guards everything and nothing survives the process. Two ideas carry it:

- What a group still has to settle of a partition is one list of `Run`s (`group.py`), disjoint and in offset order. A
  run is fresh, leased or waiting; leasing, settling and trimming cut runs and put others in their place. What is in no
  run is settled: the committed offset is where the first run begins, and the ledger's numbers in progress are sums.
- A call that can fail changes a copy of the group and puts it in place at the end: all or nothing.

General layout: engine (the protocol), contents (what it looks up, checks and changes), topic (topics and partitions:
lists of batches), group (runs), checks (limits of a call).

Of `Maintenance` it offers everything but `backup` (there is no file to copy); `vacuum` never has anything to give back.
"""

from __future__ import annotations

from millstream.engines.memory.engine import MemoryEngine

__all__ = ["MemoryEngine"]
