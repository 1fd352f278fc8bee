"""Millstream: events in, work out. One durable log, read three ways.

General layout, as an event flows (a module imports only from those above its own in this list):

    errors, limits, clock, version, durations, settings, records, extras, lazy_names    the words
    engines/    what keeps a log: memory, sqlite; `connect` opens one by its URL
    log/        Topic and Group: records in, records out, as Python values and as columns
    serving/    HTTP itself: the server, its guard
    sources/    where bytes come from; parsers/: what they say; sinks/: where results leave
    triggers/   what starts something: requests, files, times, records
    queue/      each record goes to one worker: leases, retries, dead letters
    stream/     records in order, with windows, exactly once
    batch/      a fixed piece of the log as a data frame
    advise/     which of the three fits, and how many workers it takes
    app, run/   what a program declares, and how it runs
    logs/       a machine's own event log: events, rules, alerts
    web/        collector of clicks, live events, demo
    cli/        the `millstream` command; `__main__` runs it
    testing/    fake clock, faults, the suite that every engine passes

Names are imported when they are first used: `import millstream` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream.lazy_names import getattr_of
from millstream.version import __version__

if TYPE_CHECKING:
    from millstream.app import App
    from millstream.batch import Batch, BatchRun, Run, RunResult, gathered
    from millstream.errors import (
        CapabilityError,
        ClosedError,
        CommitConflictError,
        ConflictError,
        ForeignFileError,
        GroupNotFoundError,
        HandlerError,
        JobCancelledError,
        JobError,
        JobFailedError,
        LeaseLostError,
        LimitExceededError,
        MillstreamError,
        NetworkFileSystemError,
        NewerFormatError,
        OffsetOutOfRangeError,
        QueueFullError,
        Reject,
        ResultGoneError,
        ResultNotReadyError,
        RetryLater,
        RunCancelledError,
        SchemaError,
        SettingsError,
        SinkError,
        SourceError,
        StatementError,
        StorageBusyError,
        StorageCorruptError,
        StorageError,
        StorageFullError,
        StorageReadOnlyError,
        TopicExistsError,
        TopicNotFoundError,
        UsageError,
    )
    from millstream.log.cold.policy import Cold
    from millstream.log.group import Group
    from millstream.log.log import Log
    from millstream.log.ranges import OffsetRange
    from millstream.log.retention import Retention
    from millstream.log.topic import Topic
    from millstream.log.transaction import Transaction
    from millstream.queue import (
        DeadLetter,
        Job,
        JobStatus,
        QueueEvent,
        QueueObserver,
        QueueReader,
        Retry,
        Task,
        WorkerState,
        current_job,
        progress,
    )
    from millstream.queue.autoscale import Scaling
    from millstream.queue.dead.letters import DeadLetters
    from millstream.queue.options import Recycle
    from millstream.queue.replay import Replay, Replayed, replay
    from millstream.queue.standard import Empty, Full, LifoQueue, PriorityQueue, Queue, ShutDown
    from millstream.queue.stats import QueueStats, QueueWatch
    from millstream.records import Position, Record
    from millstream.run.supervisor import Running
    from millstream.stream import (
        Context,
        Stream,
        StreamInfo,
        StreamReader,
        StreamState,
        StreamWatch,
        agg_expr,
        aggregator,
        approx_n_unique,
        approx_quantile,
        arg_max,
        arg_min,
        collect,
        count,
        first,
        global_window,
        hopping,
        last,
        max_,
        mean,
        min_,
        n_unique,
        quantile,
        session,
        sliding,
        std,
        sum_,
        table,
        top_k,
        tumbling,
    )
    from millstream.triggers import http
    from millstream.triggers.absence import Absent, absence
    from millstream.triggers.http.request import Request, Response
    from millstream.triggers.inbox import File, files
    from millstream.triggers.matching import Matched, matching
    from millstream.triggers.objects import StoredObject, objects
    from millstream.triggers.protocol import Trigger
    from millstream.triggers.times import Due, at, cron, every

_NAMES_OF: Final = {
    "millstream.app": ("App",),
    "millstream.batch": ("Batch", "BatchRun", "Run", "RunResult", "gathered"),
    "millstream.errors": (
        "CapabilityError",
        "ClosedError",
        "CommitConflictError",
        "ConflictError",
        "ForeignFileError",
        "GroupNotFoundError",
        "HandlerError",
        "JobCancelledError",
        "JobError",
        "JobFailedError",
        "LeaseLostError",
        "LimitExceededError",
        "MillstreamError",
        "NetworkFileSystemError",
        "NewerFormatError",
        "OffsetOutOfRangeError",
        "QueueFullError",
        "Reject",
        "ResultGoneError",
        "ResultNotReadyError",
        "RetryLater",
        "RunCancelledError",
        "SchemaError",
        "SettingsError",
        "SinkError",
        "SourceError",
        "StatementError",
        "StorageBusyError",
        "StorageCorruptError",
        "StorageError",
        "StorageFullError",
        "StorageReadOnlyError",
        "TopicExistsError",
        "TopicNotFoundError",
        "UsageError",
    ),
    "millstream.log.group": ("Group",),
    "millstream.log.log": ("Log",),
    "millstream.log.ranges": ("OffsetRange",),
    "millstream.log.cold.policy": ("Cold",),
    "millstream.log.retention": ("Retention",),
    "millstream.log.topic": ("Topic",),
    "millstream.log.transaction": ("Transaction",),
    "millstream.queue": (
        "DeadLetter",
        "Job",
        "JobStatus",
        "QueueEvent",
        "QueueObserver",
        "QueueReader",
        "Retry",
        "Task",
        "WorkerState",
        "current_job",
        "progress",
    ),
    "millstream.queue.autoscale": ("Scaling",),
    "millstream.queue.dead.letters": ("DeadLetters",),
    "millstream.queue.options": ("Recycle",),
    "millstream.queue.replay": ("Replay", "Replayed", "replay"),
    "millstream.queue.standard": ("Empty", "Full", "LifoQueue", "PriorityQueue", "Queue", "ShutDown"),
    "millstream.queue.stats": ("QueueStats", "QueueWatch"),
    "millstream.records": ("Position", "Record"),
    "millstream.run.supervisor": ("Running",),
    "millstream.stream": (
        "Context",
        "Stream",
        "StreamInfo",
        "StreamReader",
        "StreamState",
        "StreamWatch",
        "agg_expr",
        "aggregator",
        "approx_n_unique",
        "approx_quantile",
        "arg_max",
        "arg_min",
        "collect",
        "count",
        "first",
        "global_window",
        "hopping",
        "last",
        "max_",
        "mean",
        "min_",
        "n_unique",
        "quantile",
        "session",
        "sliding",
        "std",
        "sum_",
        "table",
        "top_k",
        "tumbling",
    ),
    "millstream.triggers": ("http",),
    "millstream.triggers.http.request": ("Request", "Response"),
    "millstream.triggers.absence": ("Absent", "absence"),
    "millstream.triggers.inbox": ("File", "files"),
    "millstream.triggers.matching": ("Matched", "matching"),
    "millstream.triggers.objects": ("StoredObject", "objects"),
    "millstream.triggers.protocol": ("Trigger",),
    "millstream.triggers.times": ("Due", "at", "cron", "every"),
}

__all__ = [
    "Absent",
    "App",
    "Batch",
    "BatchRun",
    "CapabilityError",
    "ClosedError",
    "Cold",
    "CommitConflictError",
    "ConflictError",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "Due",
    "Empty",
    "File",
    "ForeignFileError",
    "Full",
    "Group",
    "GroupNotFoundError",
    "HandlerError",
    "Job",
    "JobCancelledError",
    "JobError",
    "JobFailedError",
    "JobStatus",
    "LeaseLostError",
    "LifoQueue",
    "LimitExceededError",
    "Log",
    "Matched",
    "MillstreamError",
    "NetworkFileSystemError",
    "NewerFormatError",
    "OffsetOutOfRangeError",
    "OffsetRange",
    "Position",
    "PriorityQueue",
    "Queue",
    "QueueEvent",
    "QueueFullError",
    "QueueObserver",
    "QueueReader",
    "QueueStats",
    "QueueWatch",
    "Record",
    "Recycle",
    "Reject",
    "Replay",
    "Replayed",
    "Request",
    "Response",
    "ResultGoneError",
    "ResultNotReadyError",
    "Retention",
    "Retry",
    "RetryLater",
    "Run",
    "RunCancelledError",
    "RunResult",
    "Running",
    "Scaling",
    "SchemaError",
    "SettingsError",
    "ShutDown",
    "SinkError",
    "SourceError",
    "StatementError",
    "StorageBusyError",
    "StorageCorruptError",
    "StorageError",
    "StorageFullError",
    "StorageReadOnlyError",
    "StoredObject",
    "Stream",
    "StreamInfo",
    "StreamReader",
    "StreamState",
    "StreamWatch",
    "Task",
    "Topic",
    "TopicExistsError",
    "TopicNotFoundError",
    "Transaction",
    "Trigger",
    "UsageError",
    "WorkerState",
    "__version__",
    "absence",
    "agg_expr",
    "aggregator",
    "approx_n_unique",
    "approx_quantile",
    "arg_max",
    "arg_min",
    "at",
    "collect",
    "count",
    "cron",
    "current_job",
    "every",
    "files",
    "first",
    "gathered",
    "global_window",
    "hopping",
    "http",
    "last",
    "matching",
    "max_",
    "mean",
    "min_",
    "n_unique",
    "objects",
    "progress",
    "quantile",
    "replay",
    "session",
    "sliding",
    "std",
    "sum_",
    "table",
    "top_k",
    "tumbling",
]


if not TYPE_CHECKING:
    __getattr__ = getattr_of(__name__, _NAMES_OF)


def __dir__() -> list[str]:
    return __all__
