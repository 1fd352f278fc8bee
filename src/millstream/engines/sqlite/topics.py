"""Topics: create, describe, delete, and their schemas."""

from __future__ import annotations

from millstream import limits
from millstream.engines.protocol import PartitionInfo, TopicInfo, TopicSpec
from millstream.engines.sqlite.transaction import Transaction, first_id
from millstream.errors import ConflictError, LimitExceededError, TopicExistsError, TopicNotFoundError, UsageError
from millstream.records import check_name


def check_spec(spec: TopicSpec) -> None:
    """Refuse names and numbers that no topic can have."""
    check_name("topic", spec.name)
    if spec.partitions < 1:
        raise UsageError(f"topic {spec.name!r} needs at least one partition, not {spec.partitions}")
    if spec.partitions > limits.PARTITIONS_MAX:
        raise LimitExceededError(
            f"the number of partitions of topic {spec.name!r}", limit=limits.PARTITIONS_MAX, size=spec.partitions
        )


def create(transaction: Transaction, spec: TopicSpec) -> TopicInfo:
    row = transaction.row("topic_by_name", spec.name)
    if row is None:
        count = transaction.row("count_topics")
        if count is not None and count[0] >= limits.TOPICS_MAX:
            raise LimitExceededError("the number of topics", limit=limits.TOPICS_MAX, size=count[0] + 1)
        inserted = transaction.row(
            "insert_topic",
            spec.name,
            transaction.now_us,
            spec.partitions,
            spec.retention_age_us,
            spec.retention_bytes,
        )
        assert inserted is not None
        for number in range(spec.partitions):
            transaction.do("insert_partition", inserted[0], number)
    else:
        topic_id, _, partitions, *retention = row
        if partitions != spec.partitions:
            raise TopicExistsError(
                f"topic {spec.name!r} exists with {partitions} partition(s), not {spec.partitions}: "
                "the number cannot change without breaking the order of keys; use another topic"
            )
        if retention != [spec.retention_age_us, spec.retention_bytes]:
            transaction.do("update_retention", spec.retention_age_us, spec.retention_bytes, topic_id)
    return describe(transaction, spec.name)


def describe(transaction: Transaction, topic: str) -> TopicInfo:
    row = transaction.row("topic_by_name", topic)
    if row is None:
        raise TopicNotFoundError(topic, transaction.url)
    topic_id, created_us, partitions, age_us, size_bytes = row
    return TopicInfo(
        spec=TopicSpec(topic, partitions, age_us, size_bytes),
        created_us=created_us,
        partitions=tuple(
            PartitionInfo(number, start, end, size, batches)
            for _, number, start, end, size, batches in transaction.rows("partitions_of", topic_id)
        ),
        schemas=dict(transaction.rows("schemas_of", topic_id)),
    )


def delete(transaction: Transaction, topic: str) -> None:
    topic_id = transaction.topic_id(topic)
    for partition_id, *_ in transaction.rows("partitions_of", topic_id).fetchall():
        transaction.do("delete_batches", first_id(partition_id), first_id(partition_id + 1))
    for table in (
        "state",
        "sorted",
        "rate",
        "once",
        "waiting",
        "leases",
        "progress",
        "groups",
        "schemas",
        "partitions",
    ):
        transaction.do(f"delete_{table}_of", topic_id)
    transaction.do("delete_topic", topic_id)
    transaction.changed.add(topic_id)


def put_schema(transaction: Transaction, topic: str, schema: bytes, after: int | None) -> int:
    topic_id = transaction.topic_id(topic)
    last = 0
    for schema_id, descriptor in transaction.rows("schemas_of", topic_id).fetchall():
        if descriptor == schema:
            return int(schema_id)
        last = schema_id
    if after is not None and last != after:
        raise ConflictError(f"topic {topic!r} has schema {last} now, not {after}: read it and go on from there")
    transaction.do("insert_schema", topic_id, last + 1, schema)
    return last + 1
