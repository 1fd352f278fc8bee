-- The sink's own two tables, in SQLite and PostgreSQL alike. `?` is the driver's mark, {blob} its type of bytes.

-- make_sinks: Who may write, of each sink.
CREATE TABLE IF NOT EXISTS millstream_sinks (
    name text NOT NULL,
    incarnation text NOT NULL,
    turn bigint NOT NULL,
    PRIMARY KEY (name, incarnation)
);

-- make_staged: What waits for the log's commit.
CREATE TABLE IF NOT EXISTS millstream_staged (
    name text NOT NULL,
    incarnation text NOT NULL,
    turn bigint NOT NULL,
    number bigint NOT NULL,
    data {blob} NOT NULL,
    PRIMARY KEY (name, incarnation, turn, number)
);

-- take_over: Let a run write, unless a later one does.
INSERT INTO millstream_sinks (name, incarnation, turn) VALUES (?, ?, ?)
ON CONFLICT (name, incarnation) DO UPDATE SET turn = excluded.turn
WHERE millstream_sinks.turn < excluded.turn;

-- check_turn: Change nothing where the run may write, and hold the row until the transaction ends.
UPDATE millstream_sinks SET turn = turn WHERE name = ? AND incarnation = ? AND turn = ?;

-- stage: Keep rows; where the answer to an earlier attempt was lost, they are there already.
INSERT INTO millstream_staged (name, incarnation, turn, number, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name, incarnation, turn, number) DO UPDATE SET data = excluded.data;

-- staged: What waits of one run, up to a number, oldest first.
SELECT data FROM millstream_staged
WHERE name = ? AND incarnation = ? AND turn = ? AND number <= ?
ORDER BY number;

-- forget: Remove what waits of one run up to a number, and all of earlier runs.
DELETE FROM millstream_staged
WHERE name = ? AND incarnation = ? AND (turn < ? OR turn = ? AND number <= ?);
