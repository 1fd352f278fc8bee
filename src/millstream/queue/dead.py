"""The dead letters of a queue are those of the log: `millstream.log.dead_letter`."""

from __future__ import annotations

from millstream.log.dead_letter import (
    DEAD,
    TEXT_CHARACTERS_MAX,
    VALUE_BYTES_MAX,
    DeadLetter,
    Failure,
    Origin,
    ValueCoding,
    dead_letter_append,
    dead_topic_name,
    encoded_value,
)

__all__ = [
    "DEAD",
    "TEXT_CHARACTERS_MAX",
    "VALUE_BYTES_MAX",
    "DeadLetter",
    "Failure",
    "Origin",
    "ValueCoding",
    "dead_letter_append",
    "dead_topic_name",
    "encoded_value",
]
