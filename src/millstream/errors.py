"""Everything that can go wrong, in one tree.

    MillstreamError
    ├── UsageError                  the call cannot work as written; retrying does not help
    │   ├── SettingsError           a setting, URL or option is unknown or out of range
    │   ├── LimitExceededError      larger than a documented limit; carries limit and size
    │   ├── CapabilityError         this engine cannot do that; carries capability
    │   ├── SchemaError             a value or type does not fit the topic's schema
    │   ├── TopicNotFoundError
    │   ├── TopicExistsError        the topic exists with other settings
    │   ├── GroupNotFoundError
    │   ├── OffsetOutOfRangeError   retention deleted the record; carries start_offset
    │   └── StatementError          a statement of a caller's own transaction was refused; carries statement, constraint
    ├── QueueFullError              the queue is at its bound; retrying helps once somebody has taken something
    ├── ConflictError               somebody else was there first; read the state anew, then retry
    │   ├── LeaseLostError          the lease expired or was settled; the record is someone else's
    │   └── CommitConflictError     another reader of the group moved the offset
    ├── StorageError                the log could not be read or written
    │   ├── StorageFullError        disk or quota; nothing of the call was stored; retry when there is room
    │   ├── StorageReadOnlyError
    │   ├── StorageBusyError        another program holds the file; retrying helps
    │   ├── StorageCorruptError     run `millstream doctor`
    │   ├── NewerFormatError        written by a newer Millstream
    │   ├── ForeignFileError        a file that is not ours
    │   └── NetworkFileSystemError
    ├── SourceError                 the outside does not give messages; reading goes on from its position
    ├── SinkError                   the outside did not take results; the stream goes on from its last commit
    ├── RunCancelledError           a run of a batch was cancelled; its records go to the next run
    ├── ClosedError                 the app, topic or engine was closed
    ├── JobError                    a job has no result to give
    │   ├── JobFailedError          it was given up on; carries error_type, error_message, remote_traceback, attempts
    │   ├── JobCancelledError
    │   ├── ResultNotReadyError     it has not ended in the time given; also a TimeoutError; ask again later
    │   └── ResultGoneError         it has ended, and its result has expired or could not be kept
    └── HandlerError                control flow of queue handlers
        ├── Reject                  give up on this record now: to the dead letters
        └── RetryLater              try again after a stated time

A message says what happened, to which topic, offset or file, and what to do next. `retryable` says whether the same
call can succeed later without a change. Driver errors are wrapped once per engine, `from` the original.
"""

from __future__ import annotations

from typing import ClassVar


class MillstreamError(Exception):
    """Base of every error that Millstream raises on purpose."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class UsageError(MillstreamError):
    """The call cannot work as written."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting, URL or option is unknown or out of range."""


class LimitExceededError(UsageError):
    """Something is larger than a limit of `millstream.limits`."""

    def __init__(self, what: str, *, limit: int, size: int, hint: str = "") -> None:
        super().__init__(f"{what} is {size:,}, the limit is {limit:,}" + (f"; {hint}" if hint else ""))
        self.what = what
        self.limit = limit
        self.size = size


class CapabilityError(UsageError):
    """The engine in use does not offer what was asked for."""

    def __init__(self, engine: str, capability: str, hint: str = "") -> None:
        super().__init__(f"the {engine} engine cannot {capability}" + (f"; {hint}" if hint else ""))
        self.engine = engine
        self.capability = capability


class SchemaError(UsageError):
    """A value or a type does not fit the schema of its topic."""

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index
        """Place of the first bad value in the call, None when the type itself is at fault."""


class TopicNotFoundError(UsageError):
    def __init__(self, topic: str, where: str = "") -> None:
        super().__init__(f"there is no topic {topic!r}" + (f" in {where}" if where else ""))
        self.topic = topic


class TopicExistsError(UsageError):
    """The topic exists with settings that cannot be changed to those asked for."""


class GroupNotFoundError(UsageError):
    def __init__(self, topic: str, group: str) -> None:
        super().__init__(f"topic {topic!r} has no consumer group {group!r}")
        self.topic = topic
        self.group = group


class OffsetOutOfRangeError(UsageError):
    """The records asked for were deleted by retention (or never existed)."""

    def __init__(self, topic: str, partition: int, offset: int, *, start_offset: int, end_offset: int) -> None:
        super().__init__(
            f"offset {offset} of {topic}/{partition} is outside the log, which holds [{start_offset}, {end_offset}); "
            f"read from {start_offset} on"
        )
        self.start_offset = start_offset
        self.end_offset = end_offset


class StatementError(UsageError):
    """SQL of a caller's own transaction was refused; the transaction can go on without it unless it says otherwise."""

    def __init__(self, message: str, statement: str, *, constraint: bool = False) -> None:
        super().__init__(message)
        self.statement = statement
        self.constraint = constraint
        """A constraint of the caller's own table does not hold (unique, not null, check, foreign key)."""


class QueueFullError(MillstreamError):
    """The queue would grow beyond its bound; nothing was stored."""

    retryable = True
    exit_code = 4

    def __init__(self, topic: str, group: str, *, limit: int, size: int) -> None:
        super().__init__(
            f"the queue {group!r} of {topic!r} is full: it would hold {size:,} records, its bound is {limit:,}"
        )
        self.limit = limit
        self.size = size


class ConflictError(MillstreamError):
    """Somebody else was there first."""

    exit_code = 4


class LeaseLostError(ConflictError):
    """The lease expired or was settled already; the records may be with another worker."""


class CommitConflictError(ConflictError):
    """The group's committed offset is not the one this commit starts from."""


class StorageError(MillstreamError):
    """The log could not be read or written."""

    exit_code = 3


class StorageFullError(StorageError):
    """No room on the disk; nothing of the failed call was stored."""

    retryable = True


class StorageReadOnlyError(StorageError):
    """The file or its folder may not be written."""


class StorageBusyError(StorageError):
    """Another program (not Millstream, whose writers wait in line) holds the file."""

    retryable = True


class StorageCorruptError(StorageError):
    """The file is damaged; `millstream doctor` tells what is left."""


class NewerFormatError(StorageError):
    """The file was written by a newer Millstream."""


class ForeignFileError(StorageError):
    """The file exists and is not a Millstream log."""


class NetworkFileSystemError(StorageError):
    """SQLite's locks and shared memory do not work over a network; the file must be on a local disk."""


class SourceError(MillstreamError):
    """The outside (a broker) does not give messages. What is stored stays; reading goes on from its position.

    Args:
        retryable: Whether it may give them later without anybody doing something.
    """

    exit_code = 3

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.retryable = retryable  # type: ignore[misc]


class SinkError(MillstreamError):
    """The outside of a stream (files, a database, a web hook) did not take results. None of them are lost.

    Args:
        retryable: Whether it may take them later without anybody doing something.
        delay_s: When it asked to be called again, in seconds from now.
    """

    exit_code = 3

    def __init__(self, message: str, *, retryable: bool = True, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable  # type: ignore[misc]
        self.delay_s = delay_s


class RunCancelledError(MillstreamError):
    """A run of a batch was cancelled; nothing of it was committed, its records go to the next run."""


class ClosedError(MillstreamError):
    """The app or engine was closed before the call."""


class JobError(MillstreamError):
    """A job has no result to give."""


class JobFailedError(JobError):
    """A job was given up on; what its function raised last, in the worker's own words."""

    def __init__(self, job: str, *, error_type: str, message: str, traceback: str, attempts: int) -> None:
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f"job {job} failed after {times}: {error_type}" + (f": {message}" if message else ""))
        self.error_type = error_type
        """Name of the exception's class, with its module unless it is built in."""
        self.error_message = message
        self.remote_traceback = traceback
        """As text; empty where nothing was run."""
        self.attempts = attempts
        if traceback:
            self.add_note(f"In the worker:\n{traceback}")


class JobCancelledError(JobError):
    """A job was cancelled before it had ended."""


class ResultNotReadyError(JobError, TimeoutError):
    """A job has not ended in the time given; it goes on."""

    retryable = True


class ResultGoneError(JobError):
    """A job has ended, and its result has expired or could not be kept."""


class HandlerError(MillstreamError):
    """Raised by a queue handler to say what should happen with its record."""


class Reject(HandlerError):  # noqa: N818 - reads as a verb in handlers: `raise Reject("no such user")`
    """Give up on this record now: it goes to the dead letters with this reason."""


class RetryLater(HandlerError):  # noqa: N818 - reads as a verb in handlers
    """Try this record again after a delay; counts as an attempt."""

    def __init__(self, delay: str | float, reason: str = "") -> None:
        super().__init__(reason or f"retry after {delay}")
        self.delay = delay
