"""Approximate aggregates: a few kB a group, whatever came. The sketches are those of the Apache DataSketches library.

It is an extra, `pip install "millstream[sketches]"`, and imported only when a description names such an aggregate.

Source: Flajolet et al., HyperLogLog, 2007; Karnin, Lang, Liberty, Optimal Quantile Approximation in Streams, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from millstream.extras import import_extra
from millstream.stream.aggregates.aggregate import Aggregate

UNIQUE_LG_K: Final = 12
"""4,096 registers: a standard error of 1.6%, 2 kB."""

QUANTILE_K: Final = 200
"""A rank is within 1.33% with a confidence of 99%, 3 kB for doubles."""


class UniqueKind:
    """HyperLogLog."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._library = _library(aggregate)

    def of(self, values: Sequence[Any]) -> bytes:
        sketch = self._library.hll_sketch(UNIQUE_LG_K)
        for value in values:
            sketch.update(value if isinstance(value, int | float | str) else str(value))
        return bytes(sketch.serialize_compact())

    def merged(self, states: Sequence[bytes]) -> bytes:
        union = self._library.hll_union(UNIQUE_LG_K)
        for state in states:
            union.update(self._library.hll_sketch.deserialize(state))
        return bytes(union.get_result().serialize_compact())

    def result(self, state: bytes) -> int:
        return round(float(self._library.hll_sketch.deserialize(state).get_estimate()))


class QuantileKind:
    """KLL."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._library = _library(aggregate)
        self._share = aggregate.share or 0.0

    def of(self, values: Sequence[Any]) -> bytes:
        sketch = self._library.kll_doubles_sketch(QUANTILE_K)
        for value in values:
            sketch.update(value)
        return bytes(sketch.serialize())

    def merged(self, states: Sequence[bytes]) -> bytes:
        total = self._library.kll_doubles_sketch(QUANTILE_K)
        for state in states:
            total.merge(self._library.kll_doubles_sketch.deserialize(state))
        return bytes(total.serialize())

    def result(self, state: bytes) -> float | None:
        sketch = self._library.kll_doubles_sketch.deserialize(state)
        return None if sketch.is_empty() else float(sketch.get_quantile(self._share))


def _library(aggregate: Aggregate) -> Any:
    return import_extra("datasketches", "sketches", f"{aggregate} needs the package datasketches")
