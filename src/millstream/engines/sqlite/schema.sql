-- The file format, version 1. Times are microseconds since 1970 UTC; ranges are [first, past).
-- A batch's id is partition.id * 2^44 + offset of its first record: one b-tree keeps every partition in order, an append
-- writes at its end, and finding an offset is one seek.

CREATE TABLE topic (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,   -- never reused: a cached id cannot mean another topic
    name              TEXT NOT NULL UNIQUE,
    created_us        INTEGER NOT NULL,
    partitions        INTEGER NOT NULL,
    retention_age_us  INTEGER,
    retention_bytes   INTEGER
);

CREATE TABLE partition (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    topic_id          INTEGER NOT NULL REFERENCES topic (id),
    number            INTEGER NOT NULL,
    start_offset      INTEGER NOT NULL DEFAULT 0,
    end_offset        INTEGER NOT NULL DEFAULT 0,
    size_bytes        INTEGER NOT NULL DEFAULT 0,
    batches           INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic_id, number)
);

CREATE TABLE schema (
    topic_id          INTEGER NOT NULL REFERENCES topic (id),
    id                INTEGER NOT NULL,                    -- 1 up in each topic; 0 in a batch: raw records
    descriptor        BLOB NOT NULL,
    PRIMARY KEY (topic_id, id)
) WITHOUT ROWID;

CREATE TABLE batch (
    id                INTEGER PRIMARY KEY,
    count             INTEGER NOT NULL,
    coding            INTEGER NOT NULL,                    -- 0 rows, 1 columns, 2 cold: data names a file
    schema_id         INTEGER NOT NULL,
    append_us         INTEGER NOT NULL,
    event_min_us      INTEGER,                             -- NULL: the append time
    event_max_us      INTEGER,
    size_bytes        INTEGER NOT NULL,
    meta              BLOB,
    data              BLOB NOT NULL                        -- last, so that the columns before it are read without it
);

CREATE TABLE consumer_group (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    topic_id          INTEGER NOT NULL REFERENCES topic (id),
    name              TEXT NOT NULL,
    paused            INTEGER NOT NULL DEFAULT 0,
    parallel          INTEGER,                             -- NULL: hands over runs of offsets; else see sorted
    UNIQUE (topic_id, name)
);

-- Where a group is in a partition, and the ledger of it. Counts are kept, not computed; `doctor` recounts them.
CREATE TABLE progress (
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    partition_id      INTEGER NOT NULL REFERENCES partition (id),
    start_offset      INTEGER NOT NULL,                    -- first offset that was given to this group
    next_offset       INTEGER NOT NULL,                    -- everything from here on was never handed over
    done              INTEGER NOT NULL DEFAULT 0,
    dead              INTEGER NOT NULL DEFAULT 0,
    expired           INTEGER NOT NULL DEFAULT 0,
    leased            INTEGER NOT NULL DEFAULT 0,
    waiting           INTEGER NOT NULL DEFAULT 0,
    skipped           INTEGER NOT NULL DEFAULT 0,          -- below next_offset and never handed over (LIFO took newer ones)
    PRIMARY KEY (group_id, partition_id)
) WITHOUT ROWID;

-- A lease that is settled in parts stays as several ranges under one id. The owner is the process that holds it, known
-- to live while it holds the lock of that name.
CREATE TABLE lease (
    id                INTEGER NOT NULL,
    first             INTEGER NOT NULL,
    past              INTEGER NOT NULL,
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    partition_id      INTEGER NOT NULL REFERENCES partition (id),
    attempt           INTEGER NOT NULL,
    deadline_us       INTEGER NOT NULL,                    -- on the machine's steady clock, which starts with it; 0: over
    worker            TEXT NOT NULL,
    owner             TEXT NOT NULL,
    place             INTEGER NOT NULL,                    -- in the order in which the worker handles the lease
    key               BLOB,                                -- NULL: a run of offsets; else of a group in sorted order
    PRIMARY KEY (id, first)
) WITHOUT ROWID;
CREATE INDEX lease_deadline ON lease (group_id, deadline_us);

-- Ranges that were given back. due_us 0: due, in offset order; -1: never handed over (see progress.skipped).
CREATE TABLE waiting (
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    partition_id      INTEGER NOT NULL REFERENCES partition (id),
    first             INTEGER NOT NULL,
    past              INTEGER NOT NULL,
    attempt           INTEGER NOT NULL,
    due_us            INTEGER NOT NULL,
    PRIMARY KEY (group_id, partition_id, first)
) WITHOUT ROWID;
CREATE INDEX waiting_due ON waiting (group_id, due_us, first);

-- What a group in sorted order has not settled: one row a record. Of each key the first `parallel` rows are heads;
-- only heads that are due (due_us 0, or past) and not leased are handed over.
CREATE TABLE sorted (
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    key               BLOB NOT NULL,                       -- empty: none, and always a head
    first             INTEGER NOT NULL,                    -- its offset
    partition_id      INTEGER NOT NULL REFERENCES partition (id),
    rank              INTEGER NOT NULL,
    due_us            INTEGER NOT NULL,
    attempt           INTEGER NOT NULL,
    head              INTEGER NOT NULL,
    leased            INTEGER NOT NULL,
    given_back        INTEGER NOT NULL,                    -- counted as waiting; else as skipped
    PRIMARY KEY (group_id, key, first, partition_id)
) WITHOUT ROWID;
CREATE INDEX sorted_ready ON sorted (group_id, due_us, rank, first) WHERE head = 1 AND leased = 0;
CREATE INDEX sorted_place ON sorted (group_id, partition_id, first);

-- The next moment at which a key of a group is within its rate (generic cell rate algorithm).
CREATE TABLE rate (
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    key               BLOB NOT NULL,
    arrival_us        INTEGER NOT NULL,                    -- theoretical arrival time of the next delivery
    PRIMARY KEY (group_id, key)
) WITHOUT ROWID;

-- What must not be appended a second time before a moment.
CREATE TABLE once (
    topic_id          INTEGER NOT NULL REFERENCES topic (id),
    value             BLOB NOT NULL,
    until_us          INTEGER NOT NULL,
    partition         INTEGER NOT NULL,
    first             INTEGER NOT NULL,
    PRIMARY KEY (topic_id, value)
) WITHOUT ROWID;
CREATE INDEX once_until ON once (until_us);

CREATE TABLE state (
    group_id          INTEGER NOT NULL REFERENCES consumer_group (id),
    partition_id      INTEGER NOT NULL REFERENCES partition (id),
    key               BLOB NOT NULL,
    value             BLOB NOT NULL,
    expires_us        INTEGER,
    PRIMARY KEY (group_id, partition_id, key)
) WITHOUT ROWID;
CREATE INDEX state_expires ON state (expires_us) WHERE expires_us IS NOT NULL;
