"""The event log of Windows, by its own library: wevtapi.dll.

The calls are those of the documentation's own examples: a query backwards for the newest events, and for all others a
subscription that is pulled, with an object that Windows signals when there is something.

Source: learn.microsoft.com/windows/win32/wes: "Querying for events", "Subscribing to events", "Bookmarking events",
"Rendering events"; winevt.h.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from millstream.sources.windows_api import EventLogError, EventLogs, RenderedEvent, Subscription

QUERY_CHANNEL: Final = 0x1
QUERY_REVERSE: Final = 0x200
SUBSCRIBE_FROM_OLDEST: Final = 2
SUBSCRIBE_AFTER_BOOKMARK: Final = 3
SUBSCRIBE_STRICT: Final = 0x10000
RENDER_EVENT: Final = 1
RENDER_BOOKMARK: Final = 2
OPEN_CHANNEL: Final = 1
OLDEST_RECORD: Final = 6

INSUFFICIENT_BUFFER: Final = 122
NO_MORE_ITEMS: Final = 259
TIMEOUT: Final = 1460

EVENTS_AT_ONCE: Final = 64
NEXT_MS: Final = 1000
RENDER_BYTES: Final = 64 * 1024
WAIT_OBJECTS_MAX: Final = 64
"""WaitForMultipleObjects takes no more."""


class _Variant(ctypes.Structure):
    """EVT_VARIANT."""

    _fields_ = (("value", ctypes.c_uint64), ("count", ctypes.c_uint32), ("type", ctypes.c_uint32))


class Library:
    """The functions that are used, with their types."""

    def __init__(self, wevtapi: Any, kernel32: Any, last_error: Callable[[], int], text: Callable[[int], str]) -> None:
        """Declare the functions.

        Args:
            wevtapi: The library; the same for kernel32.
            last_error: Returns the code of the last error of this thread.
            text: Returns what a code means.
        """
        handle, dword, wide, flag = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_wchar_p, ctypes.c_int
        dwords = ctypes.POINTER(dword)
        self.last_error = last_error
        self.text = text
        self.query = _declared(wevtapi.EvtQuery, handle, handle, wide, wide, dword)
        self.next = _declared(wevtapi.EvtNext, flag, handle, dword, ctypes.POINTER(handle), dword, dword, dwords)
        self.render = _declared(wevtapi.EvtRender, flag, handle, handle, dword, dword, ctypes.c_void_p, dwords, dwords)
        self.create_bookmark = _declared(wevtapi.EvtCreateBookmark, handle, wide)
        self.update_bookmark = _declared(wevtapi.EvtUpdateBookmark, flag, handle, handle)
        self.subscribe = _declared(
            wevtapi.EvtSubscribe, handle, handle, handle, wide, wide, handle, ctypes.c_void_p, ctypes.c_void_p, dword
        )
        self.open_log = _declared(wevtapi.EvtOpenLog, handle, handle, wide, dword)
        self.log_info = _declared(wevtapi.EvtGetLogInfo, flag, handle, dword, dword, ctypes.POINTER(_Variant), dwords)
        self.close = _declared(wevtapi.EvtClose, flag, handle)
        self.create_event = _declared(kernel32.CreateEventW, handle, ctypes.c_void_p, flag, flag, wide)
        self.reset_event = _declared(kernel32.ResetEvent, flag, handle)
        self.close_handle = _declared(kernel32.CloseHandle, flag, handle)
        self.wait = _declared(kernel32.WaitForMultipleObjects, dword, dword, ctypes.POINTER(handle), flag, dword)

    def checked(self, result: Any) -> Any:
        """Return what a call returned.

        Raises:
            EventLogError: It failed.
        """
        if not result:
            code = self.last_error()
            raise EventLogError(code, self.text(code))
        return result


def _declared(function: Any, returns: Any, *takes: Any) -> Any:
    function.restype = returns
    function.argtypes = list(takes)
    return function


class WindowsEventLogs:
    """The channels of this machine; for one thread."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def newest(self, channel: str, count_max: int) -> list[RenderedEvent]:
        lib = self._library
        found: list[RenderedEvent] = []
        results = lib.checked(lib.query(None, channel, "*", QUERY_CHANNEL | QUERY_REVERSE))
        try:
            while len(found) < count_max:
                events = _next(lib, results, min(EVENTS_AT_ONCE, count_max - len(found)))
                if not events:
                    break
                found += _rendered(lib, events)
        finally:
            lib.close(results)
        return found[::-1]

    def subscribe(self, channel: str, bookmark: str | None) -> Subscription:
        return _Pulled(self._library, channel, bookmark)

    def oldest(self, channel: str) -> int | None:
        lib = self._library
        log = lib.open_log(None, channel, OPEN_CHANNEL)
        if not log:
            return None
        try:
            value, used = _Variant(), ctypes.c_uint32()
            told = lib.log_info(log, OLDEST_RECORD, ctypes.sizeof(value), ctypes.byref(value), ctypes.byref(used))
            return int(value.value) if told and value.value else None
        finally:
            lib.close(log)

    def wait(self, subscriptions: Sequence[Subscription], seconds: float) -> None:
        signals = [one.signal for one in subscriptions if isinstance(one, _Pulled)][:WAIT_OBJECTS_MAX]
        handles = (ctypes.c_void_p * len(signals))(*signals)
        self._library.wait(len(signals), handles, 0, round(seconds * 1000))


class _Pulled:
    """A subscription that is asked for its events."""

    def __init__(self, library: Library, channel: str, bookmark: str | None) -> None:
        self._library = library
        # Reset by us, signalled by Windows; signalled at first, as there may be events already.
        self.signal = library.checked(library.create_event(None, 1, 1, None))
        self._subscription = None
        place = None
        try:
            if bookmark is not None:
                place = library.checked(library.create_bookmark(bookmark))
            # Strict: an error where events after the bookmark are gone, instead of going on behind them without a word.
            flags = SUBSCRIBE_FROM_OLDEST if place is None else SUBSCRIBE_AFTER_BOOKMARK | SUBSCRIBE_STRICT
            self._subscription = library.checked(
                library.subscribe(None, self.signal, channel, "*", place, None, None, flags)
            )
        except EventLogError:
            self.close()
            raise
        finally:
            if place is not None:
                library.close(place)

    def take(self, count_max: int) -> list[RenderedEvent]:
        found: list[RenderedEvent] = []
        # Before it is asked: what comes from here on signals again.
        self._library.reset_event(self.signal)
        while len(found) < count_max:
            events = _next(self._library, self._subscription, min(EVENTS_AT_ONCE, count_max - len(found)))
            if not events:
                break
            found += _rendered(self._library, events)
        return found

    def close(self) -> None:
        if self._subscription is not None:
            self._library.close(self._subscription)
            self._subscription = None
        if self.signal is not None:
            self._library.close_handle(self.signal)
            self.signal = None


def _next(lib: Library, results: Any, count: int) -> list[Any]:
    """Return handles of the next events, which the caller closes; none when there are none now."""
    handles, returned = (ctypes.c_void_p * count)(), ctypes.c_uint32()
    if lib.next(results, count, handles, NEXT_MS, 0, ctypes.byref(returned)):
        return list(handles[: returned.value])
    code = lib.last_error()
    if code in (NO_MORE_ITEMS, TIMEOUT):
        return []
    raise EventLogError(code, lib.text(code))


def _rendered(lib: Library, events: Sequence[Any]) -> list[RenderedEvent]:
    """Return events as XML, each with its bookmark, and close them."""
    found: list[RenderedEvent] = []
    try:
        bookmark = lib.checked(lib.create_bookmark(None))
        try:
            for event in events:
                lib.checked(lib.update_bookmark(bookmark, event))
                found.append(RenderedEvent(_text(lib, event, RENDER_EVENT), _text(lib, bookmark, RENDER_BOOKMARK)))
        finally:
            lib.close(bookmark)
    finally:
        for event in events:
            lib.close(event)
    return found


def _text(lib: Library, fragment: Any, what: int) -> str:
    """Return an event or a bookmark as XML."""
    size = RENDER_BYTES
    while True:
        buffer = ctypes.create_unicode_buffer(size // ctypes.sizeof(ctypes.c_wchar))
        used, count = ctypes.c_uint32(), ctypes.c_uint32()
        if lib.render(None, fragment, what, size, buffer, ctypes.byref(used), ctypes.byref(count)):
            return buffer.value
        code = lib.last_error()
        if code != INSUFFICIENT_BUFFER or used.value <= size:
            raise EventLogError(code, lib.text(code))
        size = used.value


def this_machine() -> EventLogs:
    """Return the event log of this machine, which runs Windows."""
    if sys.platform == "win32":
        wevtapi = ctypes.WinDLL("wevtapi", use_last_error=True)
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        library = Library(wevtapi, kernel32, ctypes.get_last_error, lambda code: ctypes.FormatError(code).strip())
        return WindowsEventLogs(library)
    raise NotImplementedError("wevtapi.dll is of Windows")
