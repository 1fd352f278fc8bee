"""The limits of a log and the reason of each, in one place.

Going over one raises `LimitExceededError` with the limit and the size; nothing of the failed call is stored.
"""

from __future__ import annotations

from typing import Final

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
"""A record is decoded whole in memory by every reader; larger things belong in a file whose name is the record."""

BATCH_BYTES_MAX: Final = 32 * 1024 * 1024
"""One row of the engine; SQLite reads a value whole, so this bounds what one read holds in memory."""

EXTEND_BYTES_MAX: Final = 512 * 1024 * 1024
"""One `extend` is one transaction, all or nothing, and its encoded form is held in memory until it is durable."""

EXTEND_RECORDS_MAX: Final = 10_000_000
"""The same reason as the bytes, for records of almost no size."""

ROWS_RECORDS_MAX: Final = 4096
"""From this many records in one append, a batch is written as columns: the point where the cost of starting an Arrow
batch (0.1 ms) disappears. Group commit joins smaller batches up to this size."""

ROWS_BYTES_MAX: Final = 1024 * 1024
"""Group commit stops joining row batches here: a reader of one record reads its whole batch."""

COLUMNS_RECORDS_MAX: Final = 65_536
"""Records of a columns batch. Polars is at full speed from about 50,000 rows; more only costs memory."""

HEADER_BYTES_MAX: Final = 64 * 1024
"""Headers are for routing and tracing; kept beside every record and read with it."""

KEY_BYTES_MAX: Final = 4096
"""Keys are held in memory by keyed readers."""

TOPICS_MAX: Final = 10_000
"""A topic costs some rows and a place in every listing; more topics than this means that a key was meant."""

PARTITIONS_MAX: Final = 1024
"""Partitions of a topic: far above the number of processes of one machine, and the engine's ids have room for it."""

NAME_CHARACTERS_MAX: Final = 200
"""Topic and group names also become NATS subjects, Kafka topics (249) and file names (255)."""

RESULT_BYTES_MAX: Final = 1024 * 1024
"""What a job's function returns is kept as state beside the queue, read and written whole; larger things belong in a
file or topic whose name is the result."""

STATE_MEMORY_BYTES: Final = 128 * 1024 * 1024
"""About what the stateful steps of a stream hold together of their keys in memory, each an equal part; the others are
read from the log when a record asks for them."""

READ_RECORDS_MAX: Final = 1_000_000
"""Upper bound of one read call."""

LEASE_RECORDS_MAX: Final = 65_536
"""Upper bound of one lease: a run of records that a crash gives back."""
