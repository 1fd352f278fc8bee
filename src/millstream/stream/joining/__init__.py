"""Joins of a stream with another stream or a table.

General layout:

    steps.py       what a description says: JoinStep, AsOfStep, TableStep
    columns.py     which columns come in, and which come out
    reach.py       when two records can meet, and so when one is late and when it leaves
    lateness.py    records that are late
    join.py        two streams, by key and time
    meeting.py     which rows of two frames meet
    side.py        what is kept of one input
    asof.py        a stream and the newest record of another
    table.py       a stream and a table
    versions.py    rows that count until a newer one of their key
    newest.py      the newest row of each of many keys
    keyed_rows.py  rows of state, looked up by key
"""

from millstream.stream.joining.asof import AsOfOperator
from millstream.stream.joining.join import JoinOperator
from millstream.stream.joining.steps import AsOfStep, How, JoinStep, TableStep
from millstream.stream.joining.table import TableOperator

__all__ = ["AsOfOperator", "AsOfStep", "How", "JoinOperator", "JoinStep", "TableOperator", "TableStep"]
