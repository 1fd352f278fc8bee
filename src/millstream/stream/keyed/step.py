"""What `stateful_map` and `stateful_flat_map` were given."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import UsageError
from millstream.stream.keyed.coding import StateCoding, name_of, state_type
from millstream.stream.needs import Needs, union

if TYPE_CHECKING:
    import polars as pl


class StatefulStep(msgspec.Struct, frozen=True):
    """A function that is given the state of the record's key and returns the next one."""

    function: Callable[..., Any]
    """(state, value) or (state, value, context) -> (state, output)"""
    init: Any
    """The state of a key without any, or what is called to make one."""
    by: tuple[str, ...] = ()
    """Columns of the key; none: the record's own."""
    many: bool = False
    """Whether the output is a list of values; else it is one value, None for none."""
    on_timer: Callable[..., Any] | None = None
    """(state, context) -> (state, output)"""
    ttl_us: int | None = None
    name: str = ""
    type: type | None = None
    """Of the values that come out, where it is known."""
    on_values = True

    def check(self) -> StateCoding:
        """Return how its states are stored.

        Raises:
            UsageError: A function takes other arguments, or the state is not data.
        """
        _check_arguments(self.function, (2, 3), str(self), "the state, the value and, if it likes, the context")
        if self.on_timer is not None:
            _check_arguments(self.on_timer, (2,), f"{self}, on_timer", "the state and the context")
        if self.ttl_us is not None and self.ttl_us <= 0:
            raise UsageError(f"{self}: a time to live is longer than nothing; give ttl= above 0, or leave it out")
        coding = StateCoding(state_type(self.init, self.function), str(self))
        sample = self.init() if callable(self.init) else self.init
        if sample is not None:
            coding.encode([sample], [None])
        return coding

    @property
    def takes_context(self) -> bool:
        if not accepts(self.function, 2):
            return True
        try:
            third = list(inspect.signature(self.function).parameters)[2:3]
        except ValueError:
            return False  # a function of C that does not tell
        return third == ["context"] and accepts(self.function, 3)

    @property
    def title(self) -> str:
        """What tells it apart: its name, else that of its function."""
        return self.name or getattr(self.function, "__qualname__", None) or type(self.function).__name__

    def fingerprint(self) -> str:
        """Return what the state depends on: name, keys and the type of the state, not the function's code."""
        return f"stateful {self.title} by {list(self.by)}: {name_of(state_type(self.init, self.function))}"

    def needs(self, port: int, out: Needs, schema: pl.Schema | None) -> Needs:
        """Return the columns it needs: its function sees all of them."""
        return union(None, frozenset(self.by))

    def __str__(self) -> str:
        kind = "stateful_flat_map" if self.many else "stateful_map"
        return f"{kind}({self.title})"


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Return whether a function can be called with so many arguments; True where nobody knows."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _check_arguments(function: Callable[..., Any], counts: tuple[int, ...], step: str, words: str) -> None:
    if not callable(function):
        raise UsageError(f"{step}: {function!r} is not a function")
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{step}: a function with state is called in order; write it as a plain one, not async")
    if not any(accepts(function, count) for count in counts):
        raise UsageError(f"{step}: the function takes {words}; it has {inspect.signature(function)}")
