-- Every statement of the engine: a line `-- name: what it does`, then the statement. Parameters are bound, in order.

-- insert_topic: A new topic.
INSERT INTO topic (name, created_us, partitions, retention_age_us, retention_bytes) VALUES (?, ?, ?, ?, ?) RETURNING id;
-- update_retention: Change what a topic keeps.
UPDATE topic SET retention_age_us = ?, retention_bytes = ? WHERE id = ?;
-- topic_by_name: One topic.
SELECT id, created_us, partitions, retention_age_us, retention_bytes FROM topic WHERE name = ?;
-- topic_names: All topics, sorted.
SELECT name FROM topic ORDER BY name;
-- count_topics: How many topics there are.
SELECT count(*) FROM topic;
-- insert_partition: A new partition of a topic.
INSERT INTO partition (topic_id, number) VALUES (?, ?);
-- partitions_of: Partitions of a topic in order.
SELECT id, number, start_offset, end_offset, size_bytes, batches FROM partition WHERE topic_id = ? ORDER BY number;
-- partition_range: The offsets a partition holds.
SELECT start_offset, end_offset FROM partition WHERE id = ?;
-- schemas_of: Schemas of a topic in order of registration.
SELECT id, descriptor FROM schema WHERE topic_id = ? ORDER BY id;
-- insert_schema: A new schema of a topic.
INSERT INTO schema (topic_id, id, descriptor) VALUES (?, ?, ?);

-- delete_batches: All batches of an id range.
DELETE FROM batch WHERE id >= ? AND id < ?;
-- delete_state_of: State of a topic's groups.
DELETE FROM state WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_sorted_of: Sorted records of a topic's groups.
DELETE FROM sorted WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_rate_of: Rates of a topic's groups.
DELETE FROM rate WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_once_of: What was to be unique in a topic.
DELETE FROM once WHERE topic_id = ?;
-- delete_waiting_of: Waiting records of a topic's groups.
DELETE FROM waiting WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_leases_of: Leases of a topic's groups.
DELETE FROM lease WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_progress_of: Positions of a topic's groups.
DELETE FROM progress WHERE group_id IN (SELECT id FROM consumer_group WHERE topic_id = ?);
-- delete_groups_of: Groups of a topic.
DELETE FROM consumer_group WHERE topic_id = ?;
-- delete_state_of_group: State of one group.
DELETE FROM state WHERE group_id = ?;
-- delete_sorted_of_group: Sorted records of one group.
DELETE FROM sorted WHERE group_id = ?;
-- delete_rate_of_group: Rates of one group.
DELETE FROM rate WHERE group_id = ?;
-- delete_waiting_of_group: Waiting records of one group.
DELETE FROM waiting WHERE group_id = ?;
-- delete_leases_of_group: Leases of one group.
DELETE FROM lease WHERE group_id = ?;
-- delete_progress_of_group: Positions of one group.
DELETE FROM progress WHERE group_id = ?;
-- delete_group: The group itself.
DELETE FROM consumer_group WHERE id = ?;
-- delete_schemas_of: Schemas of a topic.
DELETE FROM schema WHERE topic_id = ?;
-- delete_partitions_of: Partitions of a topic.
DELETE FROM partition WHERE topic_id = ?;
-- delete_topic: The topic itself.
DELETE FROM topic WHERE id = ?;

-- grow_partition: Reserve offsets at the end of a partition of a topic; no row when there is none.
UPDATE partition SET end_offset = end_offset + ?, size_bytes = size_bytes + ?, batches = batches + 1
WHERE topic_id = (SELECT id FROM topic WHERE name = ?) AND number = ? RETURNING topic_id, id, end_offset;
-- insert_batch: One batch.
INSERT INTO batch (id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes, meta, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
-- read_batches: Batches from the one that holds an offset on: (floor, offset, ceiling of the partition's ids).
SELECT id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes, meta, data FROM batch
WHERE id >= (SELECT max(id) FROM batch WHERE id >= ? AND id <= ?) AND id < ? ORDER BY id;
-- batch_at: The batch that holds an offset, or the last one before it: (floor, offset).
SELECT id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes, meta, data FROM batch
WHERE id >= ? AND id <= ? ORDER BY id DESC LIMIT 1;
-- read_small_batches: Batches of an id range that a worker gets with its lease: (floor, first, end, records, bytes).
SELECT id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes, meta, data FROM batch
WHERE id >= (SELECT max(id) FROM batch WHERE id >= ? AND id <= ?) AND id < ? AND count < ? AND size_bytes <= ? ORDER BY id;
-- group_by_name: A group.
SELECT id, paused, parallel FROM consumer_group WHERE topic_id = ? AND name = ?;
-- group_names: Groups of a topic, sorted.
SELECT name FROM consumer_group WHERE topic_id = ? ORDER BY name;
-- insert_group: A new group.
INSERT INTO consumer_group (topic_id, name, parallel) VALUES (?, ?, ?) RETURNING id;
-- pause_group: Hand over nothing, or go on.
UPDATE consumer_group SET paused = ? WHERE id = ?;
-- sort_group: How many records of a key may be out at once.
UPDATE consumer_group SET parallel = ? WHERE id = ?;
-- insert_progress: Where a new group begins in a partition.
INSERT INTO progress (group_id, partition_id, start_offset, next_offset) VALUES (?, ?, ?, ?);
-- group_progress: Positions and ledger of a group, with the lowest waiting offset of each partition.
SELECT p.number, p.end_offset, g.start_offset, g.next_offset, g.done, g.dead, g.expired, g.leased, g.waiting, g.skipped,
       (SELECT min(w.first) FROM waiting w WHERE w.group_id = g.group_id AND w.partition_id = g.partition_id),
       (SELECT min(s.first) FROM sorted s WHERE s.group_id = g.group_id AND s.partition_id = g.partition_id)
FROM progress g JOIN partition p ON p.id = g.partition_id WHERE g.group_id = ? ORDER BY p.number;
-- group_leases: The lowest leased offset of each partition, and the next deadline.
SELECT p.number, min(l.first), min(l.deadline_us)
FROM lease l JOIN partition p ON p.id = l.partition_id WHERE l.group_id = ? GROUP BY l.partition_id;
-- next_waiting: When the next range that was given back is due.
SELECT due_us FROM waiting WHERE group_id = ? AND due_us >= 0 ORDER BY due_us LIMIT 1;
-- next_sorted: The same of a group in sorted order.
SELECT due_us FROM sorted WHERE group_id = ? AND head = 1 AND leased = 0 ORDER BY due_us LIMIT 1;
-- next_due: When a lease runs out, and when something is due that was given back, or of a group in sorted order.
SELECT (SELECT deadline_us FROM lease WHERE group_id = ?1 ORDER BY deadline_us LIMIT 1),
       (SELECT due_us FROM waiting WHERE group_id = ?1 AND due_us > 0 ORDER BY due_us LIMIT 1),
       (SELECT due_us FROM sorted WHERE group_id = ?1 AND head = 1 AND leased = 0 AND due_us > 0 ORDER BY due_us LIMIT 1);
-- move_offset: A reader has read on; no row changes when another was faster.
UPDATE progress SET next_offset = ?3, done = done + (?3 - ?2)
WHERE group_id = ?1 AND next_offset = ?2
  AND partition_id = (SELECT id FROM partition WHERE topic_id = ?4 AND number = ?5 AND end_offset >= ?3);
-- put_state: Set a key of a group's state.
INSERT INTO state (group_id, partition_id, key, value, expires_us) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET value = excluded.value, expires_us = excluded.expires_us;
-- delete_state: Delete a key of a group's state.
DELETE FROM state WHERE group_id = ? AND partition_id = ? AND key = ?;
-- read_state: All state of a group's partition.
SELECT key, value FROM state WHERE group_id = ? AND partition_id = ? AND (expires_us IS NULL OR expires_us > ?);
-- read_state_range: The keys [first, past) of it, in order: (group, partition, first, past, now, at most).
SELECT key, value FROM state
WHERE group_id = ? AND partition_id = ? AND key >= ? AND key < ? AND (expires_us IS NULL OR expires_us > ?)
ORDER BY key LIMIT ?;
-- read_state_keys: One key of it, as key and value.
SELECT key, value FROM state
WHERE group_id = ? AND partition_id = ? AND key = ? AND (expires_us IS NULL OR expires_us > ?);
-- read_state_key: One key of it.
SELECT value FROM state WHERE group_id = ? AND partition_id = ? AND key = ? AND (expires_us IS NULL OR expires_us > ?);
-- forget_state: Delete what has expired, some at a time.
DELETE FROM state WHERE (group_id, partition_id, key) IN (
    SELECT group_id, partition_id, key FROM state WHERE expires_us <= ? LIMIT 10000);
-- forget_once: The same of what had to be unique.
DELETE FROM once WHERE (topic_id, value) IN (SELECT topic_id, value FROM once WHERE until_us <= ? LIMIT 10000);
-- find_once: Where a unique value was appended, if it still counts.
SELECT partition, first FROM once WHERE topic_id = ? AND value = ? AND until_us > ?;
-- put_once: Remember a unique value.
INSERT INTO once (topic_id, value, until_us, partition, first) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET until_us = excluded.until_us, partition = excluded.partition, first = excluded.first;
-- unsettled: How many records a group has not settled.
SELECT coalesce(sum(p.end_offset - g.next_offset + g.leased + g.waiting + g.skipped), 0)
FROM progress g JOIN partition p ON p.id = g.partition_id WHERE g.group_id = ?;

-- find_lease: Who holds a record, and until when.
SELECT attempt, deadline_us, worker FROM lease WHERE group_id = ? AND partition_id = ? AND first <= ?3 AND past > ?3;
-- find_sorted: How a record of a group in sorted order stands.
SELECT attempt, due_us, given_back FROM sorted INDEXED BY sorted_place
WHERE group_id = ? AND partition_id = ? AND first = ?;
-- find_waiting: The range that was given back, or left behind, and may hold a record.
SELECT past, attempt, due_us FROM waiting WHERE group_id = ? AND partition_id = ? AND first <= ?
ORDER BY first DESC LIMIT 1;
-- expired_leases: Ranges of leases of a group whose deadline has passed, lease by lease in the worker's order.
SELECT id, first, past, partition_id, attempt, key, deadline_us, owner FROM lease
WHERE group_id = ? AND deadline_us <= ? ORDER BY id, place, first;
-- expire_owner: Let the leases of a dead process run out now.
UPDATE lease SET deadline_us = 0 WHERE owner = ?;
-- renew_owner: Write down a renewal that could not be written: (deadline, process).
UPDATE lease SET deadline_us = ?1 WHERE owner = ?2 AND deadline_us > 0 AND deadline_us < ?1;
-- topics_of_owner: The topics it had leases of.
SELECT DISTINCT p.topic_id FROM lease l JOIN partition p ON p.id = l.partition_id WHERE l.owner = ?;
-- lease_owners: The processes that hold something.
SELECT DISTINCT owner FROM lease;
-- leases_of_owner: What a process holds: range, and whose it is.
SELECT l.id, l.first, l.past, l.place, l.attempt, l.deadline_us, l.worker, t.name, g.name, p.number FROM lease l
JOIN consumer_group g ON g.id = l.group_id JOIN topic t ON t.id = g.topic_id JOIN partition p ON p.id = l.partition_id
WHERE l.owner = ?;
-- untold: What a group was not handed or told yet: (topic, group, partition).
SELECT g.next_offset, p.end_offset FROM topic t
JOIN consumer_group c ON c.topic_id = t.id AND c.name = ?2 JOIN partition p ON p.topic_id = t.id AND p.number = ?3
JOIN progress g ON g.group_id = c.id AND g.partition_id = p.id WHERE t.name = ?1;
-- accepted_by: How many records a group was given.
SELECT coalesce(sum(p.end_offset - g.start_offset), 0) FROM progress g JOIN partition p ON p.id = g.partition_id
WHERE g.group_id = ?;
-- delete_lease: A range of a lease.
DELETE FROM lease WHERE id = ? AND first = ?;
-- insert_lease: A range of a lease.
INSERT INTO lease (id, first, past, group_id, partition_id, attempt, deadline_us, worker, owner, place, key)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);
-- ranges_of_lease: All ranges of a lease, held or not.
SELECT first, past, group_id, partition_id, attempt, deadline_us, worker, owner, place, key,
       (SELECT parallel FROM consumer_group WHERE id = group_id) FROM lease WHERE id = ?;
-- lease_ranges: All ranges of a lease that is still held.
SELECT first, past FROM lease WHERE id = ? AND deadline_us > ? ORDER BY first;
-- renew_lease: A later deadline.
UPDATE lease SET deadline_us = ? WHERE id = ? AND deadline_us > ?;
-- insert_waiting: Give a range back.
INSERT INTO waiting (group_id, partition_id, first, past, attempt, due_us) VALUES (?, ?, ?, ?, ?, ?);
-- delete_waiting: Take a range that was given back.
DELETE FROM waiting WHERE group_id = ? AND partition_id = ? AND first = ?;
-- promote_due: Put ranges that have become due in offset order with the others.
UPDATE waiting SET due_us = 0 WHERE (group_id, partition_id, first) IN (
    SELECT group_id, partition_id, first FROM waiting
    WHERE group_id = ? AND due_us > 0 AND due_us <= ? ORDER BY due_us LIMIT 1000);
-- due_fifo: Ranges that are due, oldest first.
SELECT w.partition_id, p.number, w.first, w.past, w.attempt FROM waiting w JOIN partition p ON p.id = w.partition_id
WHERE w.group_id = ? AND w.due_us = 0 ORDER BY w.first, w.partition_id LIMIT ?;
-- due_lifo: Ranges that are due, newest first.
SELECT w.partition_id, p.number, w.first, w.past, w.attempt FROM waiting w JOIN partition p ON p.id = w.partition_id
WHERE w.group_id = ? AND w.due_us = 0 ORDER BY w.first DESC, w.partition_id LIMIT ?;
-- skipped_fifo: Ranges that LIFO left behind, oldest first.
SELECT w.partition_id, p.number, w.first, w.past FROM waiting w JOIN partition p ON p.id = w.partition_id
WHERE w.group_id = ? AND w.due_us = -1 ORDER BY w.first, w.partition_id LIMIT ?;
-- skipped_lifo: The same, newest first.
SELECT w.partition_id, p.number, w.first, w.past FROM waiting w JOIN partition p ON p.id = w.partition_id
WHERE w.group_id = ? AND w.due_us = -1 ORDER BY w.first DESC, w.partition_id LIMIT ?;
-- group_to_lease: A group by topic and name: ids, settings; of each partition what there is to hand over, and a flag.
SELECT t.id, c.id, c.paused, c.parallel, p.id, p.number, g.next_offset, p.end_offset, g.leased, g.waiting, g.skipped,
       EXISTS (SELECT 1 FROM state s WHERE s.group_id = c.id AND s.partition_id = p.id AND s.key = ?3)
FROM topic t JOIN consumer_group c ON c.topic_id = t.id AND c.name = ?2
JOIN progress g ON g.group_id = c.id JOIN partition p ON p.id = g.partition_id WHERE t.name = ?1;
-- fresh_ranges: What was never handed over, furthest behind first.
SELECT p.id, p.number, g.next_offset, p.end_offset FROM progress g JOIN partition p ON p.id = g.partition_id
WHERE g.group_id = ? AND g.next_offset < p.end_offset ORDER BY g.next_offset, p.number;
-- advance: Hand over up to an offset.
UPDATE progress SET next_offset = ? WHERE group_id = ? AND partition_id = ?;
-- advance_leased: Hand over up to an offset, and count it: leased, skipped.
UPDATE progress SET next_offset = ?, leased = leased + ?, skipped = skipped + ? WHERE group_id = ? AND partition_id = ?;
-- count_progress: Add to the ledger: done, dead, expired, leased, waiting, skipped.
UPDATE progress SET done = done + ?, dead = dead + ?, expired = expired + ?, leased = leased + ?, waiting = waiting + ?,
       skipped = skipped + ?
WHERE group_id = ? AND partition_id = ?;
-- topic_is_due: Whether a group of a topic has something due that nobody holds: (topic, now, steady now).
SELECT EXISTS (SELECT 1 FROM consumer_group g WHERE g.topic_id = ?1 AND (
    EXISTS (SELECT 1 FROM waiting w WHERE w.group_id = g.id AND w.due_us BETWEEN 0 AND ?2)
    OR EXISTS (SELECT 1 FROM sorted s WHERE s.group_id = g.id AND s.head = 1 AND s.leased = 0 AND s.due_us <= ?2)
    OR EXISTS (SELECT 1 FROM lease l WHERE l.group_id = g.id AND l.deadline_us <= ?3)));

-- group_to_pop: All that decides what a group hands over next: (topic, group, now, the key that says that room is wanted).
SELECT t.id, c.id, c.paused, c.parallel, sum(p.end_offset - g.next_offset), sum(g.leased), sum(g.waiting), sum(g.skipped),
       EXISTS (SELECT 1 FROM state s JOIN partition z ON z.id = s.partition_id WHERE z.topic_id = t.id AND z.number = 0
               AND s.group_id = c.id AND s.key = ?4 AND (s.expires_us IS NULL OR s.expires_us > ?3))
FROM topic t JOIN consumer_group c ON c.topic_id = t.id AND c.name = ?2
JOIN progress g ON g.group_id = c.id JOIN partition p ON p.id = g.partition_id WHERE t.name = ?1 GROUP BY c.id;
-- needed_from: The lowest offset of a partition that some group still needs.
SELECT min(needed) FROM (
    SELECT next_offset AS needed FROM progress WHERE partition_id = ?1
    UNION ALL SELECT min(first) FROM lease WHERE partition_id = ?1
    UNION ALL SELECT min(w.first) FROM progress g JOIN waiting w ON w.group_id = g.group_id AND w.partition_id = ?1
              WHERE g.partition_id = ?1
    UNION ALL SELECT min(s.first) FROM progress g JOIN sorted s ON s.group_id = g.group_id AND s.partition_id = ?1
              WHERE g.partition_id = ?1);
-- last_batch_start: The first offset, as an id, of the batch that holds an id: (floor, id).
SELECT max(id) FROM batch WHERE id >= ? AND id <= ?;
-- sum_batches: Records, bytes and number of the batches of an id range.
SELECT coalesce(sum(count), 0), coalesce(sum(size_bytes), 0), count(*) FROM batch WHERE id >= ? AND id < ?;
-- shrink_partition: Account for deleted batches: new start, bytes, batches.
UPDATE partition SET start_offset = ?, size_bytes = size_bytes - ?, batches = batches - ? WHERE id = ?;
-- resize_partition: Account for replaced batches: change of bytes, of batches.
UPDATE partition SET size_bytes = size_bytes + ?, batches = batches + ? WHERE id = ?;
-- groups_of_partition: Positions of all groups in a partition.
SELECT g.group_id, g.next_offset, c.parallel FROM progress g JOIN consumer_group c ON c.id = g.group_id
WHERE g.partition_id = ?;
-- leases_below: Leased ranges that begin below an offset.
SELECT id, first, past, attempt, deadline_us, worker, owner, place, key FROM lease
WHERE group_id = ? AND partition_id = ? AND first < ?;
-- waiting_below: Waiting ranges that begin below an offset.
SELECT first, past, attempt, due_us FROM waiting WHERE group_id = ? AND partition_id = ? AND first < ?;
-- partition_by_name: Ids of a topic and of its partition.
SELECT t.id, p.id FROM topic t JOIN partition p ON p.topic_id = t.id WHERE t.name = ? AND p.number = ?;
-- group_partitions: Ids of the partitions of a group by number.
SELECT p.number, p.id FROM progress g JOIN partition p ON p.id = g.partition_id WHERE g.group_id = ?;
-- read_headers_from: Batches without their records: (first id, ceiling, how many).
SELECT id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes FROM batch
WHERE id >= ? AND id < ? ORDER BY id LIMIT ?;
-- insert_sorted: A record of a group in sorted order.
INSERT INTO sorted (group_id, key, first, partition_id, rank, due_us, attempt, head, leased, given_back)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, 0, 0);
-- count_of_key: How many records of a key there are, up to so many.
SELECT count(*) FROM (SELECT 1 FROM sorted WHERE group_id = ? AND key = ? LIMIT ?);
-- promote_sorted: Put records that have become due in the order of the others.
UPDATE sorted SET due_us = 0 WHERE (group_id, key, first, partition_id) IN (
    SELECT group_id, key, first, partition_id FROM sorted
    WHERE group_id = ? AND head = 1 AND leased = 0 AND due_us > 0 AND due_us <= ? ORDER BY due_us LIMIT 1000);
-- due_sorted: What may be handed over, by rank and offset.
SELECT s.key, s.first, s.partition_id, p.number, s.attempt, s.given_back
FROM sorted s JOIN partition p ON p.id = s.partition_id
WHERE s.group_id = ? AND s.head = 1 AND s.leased = 0 AND s.due_us = 0 ORDER BY s.rank, s.first LIMIT ?;
-- followers: What comes after the head of a key, while it is neither leased nor waiting.
SELECT s.first, s.partition_id, p.number, s.attempt, s.given_back, s.leased, s.due_us
FROM sorted s JOIN partition p ON p.id = s.partition_id
WHERE s.group_id = ? AND s.key = ? AND (s.first, s.partition_id) > (?, ?) ORDER BY s.first, s.partition_id LIMIT ?;
-- take_sorted: Hand a record over.
UPDATE sorted SET leased = 1 WHERE group_id = ? AND key = ? AND first = ? AND partition_id = ?;
-- give_back_sorted: Take a record back.
UPDATE sorted SET leased = 0, given_back = 1, attempt = ?, due_us = ?
WHERE group_id = ? AND key = ? AND first = ? AND partition_id = ?;
-- postpone_sorted: Not before a time.
UPDATE sorted SET due_us = ? WHERE group_id = ? AND key = ? AND first = ? AND partition_id = ?;
-- delete_sorted: A record is settled.
DELETE FROM sorted WHERE group_id = ? AND key = ? AND first = ? AND partition_id = ?;
-- promote_heads: The first records of a key come up when some before them are settled.
UPDATE sorted SET head = 1 WHERE (group_id, key, first, partition_id) IN (
    SELECT group_id, key, first, partition_id FROM sorted
    WHERE group_id = ? AND key = ? ORDER BY first, partition_id LIMIT ?) AND head = 0;
-- sorted_below: Records below an offset that were not settled.
SELECT key, first, leased, given_back FROM sorted WHERE group_id = ? AND partition_id = ? AND first < ?;
-- rate_of: When a key is within its rate again.
SELECT arrival_us FROM rate WHERE group_id = ? AND key = ?;
-- put_rate: Remember a delivery of a key.
INSERT INTO rate (group_id, key, arrival_us) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET arrival_us = excluded.arrival_us;
-- heads_of_key: The first records of a key again, after the number of them has changed.
UPDATE sorted SET head = ((SELECT count(*) FROM (SELECT 1 FROM sorted b WHERE b.group_id = sorted.group_id
    AND b.key = sorted.key AND (b.first, b.partition_id) < (sorted.first, sorted.partition_id) LIMIT ?1)) < ?1)
WHERE group_id = ?2 AND key != x'';
-- next_offset: From where on a group has not been handed anything.
SELECT next_offset FROM progress WHERE group_id = ? AND partition_id = ?;
