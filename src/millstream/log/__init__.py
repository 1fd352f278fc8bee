"""The log: topics and everything that turns values into record batches and back.

General layout:

    log             all topics of an engine; topic: one; group: what readers stand on; ranges: of offsets
    encoder         values in; producer: as batches; partitioning: which partition; delivery: when and how urgently for
                    queues; addressed: for one group only; transaction: together with a program's own tables;
                    submission: from asyncio
    schema          what records look like; types: from Python's types; infer: from JSON; schemas: those of a topic
    batches         the codings: rows and columns; storage, values, objects: as which types; row_runs: many small ones
    frames          frames as readers see them; intake: frames that users append
    reading         records and frames out; tailing: as they come; scan: a LazyFrame; sql; append_time: when appended
    fetching        a worker's next records, from an engine that has no call for it; handover: taken for good
    dead_letter     records given up on
    housekeeping    keeping a log small; merging, merging_process: small batches into large ones; retention
    cold/           old records in Parquet files
    seals/          tamper evidence
    export/         files for other programs, and back
"""

from millstream.log.batches import BadRecord
from millstream.log.cold.policy import Cold
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.log.ranges import OffsetRange
from millstream.log.retention import Retention
from millstream.log.topic import Topic

__all__ = ["BadRecord", "Cold", "Group", "Log", "OffsetRange", "Retention", "Topic"]
