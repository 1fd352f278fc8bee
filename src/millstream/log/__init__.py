"""The log: topics and everything that turns values into record batches and back.

General layout: log (all topics), topic, group (what readers stand on); producer, partitioning, schemas, schema, types
(values in); batches, rows, columns, values, objects, frames, storage, intake, infer (the two codings), row_runs
(adjacent batches of rows as one); submission (appends from asyncio); reading, scan, sql (records and frames out);
dead_letter (records given up on); housekeeping, retention; cold (old records in Parquet files); seals (tamper
evidence); export (files for other programs, and back).
"""

from millstream.log.batches import BadRecord
from millstream.log.cold.policy import Cold
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.log.ranges import OffsetRange
from millstream.log.retention import Retention
from millstream.log.topic import Topic

__all__ = ["BadRecord", "Cold", "Group", "Log", "OffsetRange", "Retention", "Topic"]
