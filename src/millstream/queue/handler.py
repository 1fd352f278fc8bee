"""How a queue's handler is called."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from millstream.errors import UsageError
from millstream.records import Record


class Handler:
    """A handler of the user: takes a value, or a value and its record; a plain or an `async` function.

    Raises:
        UsageError: The function cannot be called with one or two arguments.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.takes_record = _takes_record(function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )

    def call(self, record: Record[Any], loop: EventLoop | None) -> None:
        """Call it and wait until it is done; raises what it raises."""
        arguments = (record.value, record) if self.takes_record else (record.value,)
        result = self.function(*arguments)
        if not inspect.iscoroutine(result):
            return
        if loop is None:
            result.close()
            raise TypeError("the handler returned a coroutine; declare it with `async def`, so that it is awaited")
        loop.complete(result)


class EventLoop:
    """One asyncio event loop in a thread of its own, shared by the workers of a queue."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def complete(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Cancel what handlers left running, and end the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self._loop.close()


def _takes_record(function: Callable[..., Any]) -> bool:
    """True for `f(value, record)`; a second parameter with a default counts when it is called `record`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    if _accepts(signature, 1):
        second = list(signature.parameters.values())[1:2]
        return bool(second) and second[0].name == "record" and _accepts(signature, 2)
    if _accepts(signature, 2):
        return True
    raise UsageError(
        f"a queue's handler takes the value, or the value and the record; "
        f"{getattr(function, '__name__', function)!r} has the parameters {signature}"
    )


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
