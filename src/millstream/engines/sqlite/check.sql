-- Statements of `doctor`: they may read everything, and change nothing. Form and rules as in queries.sql.

-- check_structure: SQLite's own check of pages, b-trees and indexes.
PRAGMA integrity_check(20);
-- check_partitions: What every partition says of itself.
SELECT t.name, p.number, p.id, p.start_offset, p.end_offset, p.size_bytes, p.batches
FROM partition p JOIN topic t ON t.id = p.topic_id ORDER BY p.id;
-- check_batches: What is there of a partition.
SELECT id, count, size_bytes FROM batch WHERE id >= ? AND id < ? ORDER BY id;
-- check_orphans: Rows that belong to nothing, by table.
SELECT 'partition', count(*) FROM partition WHERE topic_id NOT IN (SELECT id FROM topic)
UNION ALL SELECT 'schema', count(*) FROM schema WHERE topic_id NOT IN (SELECT id FROM topic)
UNION ALL SELECT 'consumer_group', count(*) FROM consumer_group WHERE topic_id NOT IN (SELECT id FROM topic)
UNION ALL SELECT 'progress', count(*) FROM progress WHERE group_id NOT IN (SELECT id FROM consumer_group)
    OR partition_id NOT IN (SELECT id FROM partition)
UNION ALL SELECT 'lease', count(*) FROM lease WHERE group_id NOT IN (SELECT id FROM consumer_group)
    OR partition_id NOT IN (SELECT id FROM partition)
UNION ALL SELECT 'waiting', count(*) FROM waiting WHERE group_id NOT IN (SELECT id FROM consumer_group)
    OR partition_id NOT IN (SELECT id FROM partition)
UNION ALL SELECT 'state', count(*) FROM state WHERE group_id NOT IN (SELECT id FROM consumer_group)
    OR partition_id NOT IN (SELECT id FROM partition)
UNION ALL SELECT 'sorted', count(*) FROM sorted WHERE group_id NOT IN (SELECT id FROM consumer_group)
    OR partition_id NOT IN (SELECT id FROM partition)
UNION ALL SELECT 'rate', count(*) FROM rate WHERE group_id NOT IN (SELECT id FROM consumer_group)
UNION ALL SELECT 'once', count(*) FROM once WHERE topic_id NOT IN (SELECT id FROM topic)
UNION ALL SELECT 'batch', count(*) FROM batch WHERE (id >> 44) NOT IN (SELECT id FROM partition);
-- check_schemas: Batches whose schema is missing.
SELECT count(*) FROM batch b JOIN partition p ON p.id = (b.id >> 44)
WHERE b.schema_id != 0
  AND NOT EXISTS (SELECT 1 FROM schema s WHERE s.topic_id = p.topic_id AND s.id = b.schema_id);
-- check_ledgers: What each ledger says, beside what can be counted.
SELECT t.name, p.number, c.name,
       p.end_offset - g.start_offset,
       g.done + g.dead + g.expired + g.leased + g.waiting + g.skipped + p.end_offset - g.next_offset,
       g.leased, (SELECT coalesce(sum(past - first), 0) FROM lease l
                  WHERE l.group_id = g.group_id AND l.partition_id = g.partition_id),
       g.waiting, (SELECT coalesce(sum(past - first), 0) FROM waiting w
                   WHERE w.group_id = g.group_id AND w.partition_id = g.partition_id AND w.due_us >= 0)
                + (SELECT count(*) FROM sorted s WHERE s.group_id = g.group_id AND s.partition_id = g.partition_id
                   AND s.leased = 0 AND s.given_back = 1),
       g.skipped, (SELECT coalesce(sum(past - first), 0) FROM waiting w
                   WHERE w.group_id = g.group_id AND w.partition_id = g.partition_id AND w.due_us < 0)
                + (SELECT count(*) FROM sorted s WHERE s.group_id = g.group_id AND s.partition_id = g.partition_id
                   AND s.leased = 0 AND s.given_back = 0),
       g.next_offset > p.end_offset OR g.next_offset < g.start_offset
FROM progress g JOIN partition p ON p.id = g.partition_id JOIN topic t ON t.id = p.topic_id
JOIN consumer_group c ON c.id = g.group_id;
-- check_ranges: All ranges that somebody owns, in order.
SELECT c.name, r.partition_id, r.first, r.past, g.next_offset
FROM (SELECT group_id, partition_id, first, past FROM lease
      UNION ALL SELECT group_id, partition_id, first, past FROM waiting
      UNION ALL SELECT group_id, partition_id, first, first + 1 FROM sorted WHERE leased = 0) r
JOIN progress g ON g.group_id = r.group_id AND g.partition_id = r.partition_id
JOIN consumer_group c ON c.id = r.group_id
ORDER BY r.group_id, r.partition_id, r.first;
