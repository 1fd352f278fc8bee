"""The calls of wevtapi.dll, made to functions that are called as C calls them: types, buffers, handles, errors."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from millstream.sources.windows_api import ACCESS_DENIED, RESULT_STALE, EventLogError
from millstream.sources.windows_wevtapi import (
    INSUFFICIENT_BUFFER,
    NO_MORE_ITEMS,
    QUERY_REVERSE,
    RENDER_BOOKMARK,
    RENDER_BYTES,
    SUBSCRIBE_FROM_OLDEST,
    Library,
    WindowsEventLogs,
)

HANDLE, DWORD, WIDE, INT = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_wchar_p, ctypes.c_int
DWORDS, HANDLES = ctypes.POINTER(DWORD), ctypes.POINTER(HANDLE)
WCHAR = ctypes.sizeof(ctypes.c_wchar)


class Dll:
    """One channel, System, as a library of C functions has it; knows which handles are open."""

    def __init__(self, events: list[str]) -> None:
        self.events = events
        self.oldest = 1
        self.error = 0
        self.open: dict[int, Any] = {}
        self.waited: list[tuple[list[int], int]] = []
        self._handle = 1000
        wide_or_none = ctypes.c_void_p
        c = ctypes.CFUNCTYPE
        self.wevtapi = SimpleNamespace(
            EvtQuery=c(HANDLE, HANDLE, WIDE, WIDE, DWORD)(self.query),
            EvtNext=c(INT, HANDLE, DWORD, HANDLES, DWORD, DWORD, DWORDS)(self.next),
            EvtRender=c(INT, HANDLE, HANDLE, DWORD, DWORD, ctypes.c_void_p, DWORDS, DWORDS)(self.render),
            EvtCreateBookmark=c(HANDLE, WIDE)(self.create_bookmark),
            EvtUpdateBookmark=c(INT, HANDLE, HANDLE)(self.update_bookmark),
            EvtSubscribe=c(HANDLE, HANDLE, HANDLE, WIDE, WIDE, HANDLE, wide_or_none, wide_or_none, DWORD)(
                self.subscribe
            ),
            EvtOpenLog=c(HANDLE, HANDLE, WIDE, DWORD)(lambda session, path, flags: self.handle("log")),
            EvtGetLogInfo=c(INT, HANDLE, DWORD, DWORD, ctypes.c_void_p, DWORDS)(self.log_info),
            EvtClose=c(INT, HANDLE)(self.close),
        )
        self.kernel32 = SimpleNamespace(
            CreateEventW=c(HANDLE, ctypes.c_void_p, INT, INT, WIDE)(lambda *_: self.handle("signal")),
            ResetEvent=c(INT, HANDLE)(lambda handle: int(self.open[handle] == "signal")),
            CloseHandle=c(INT, HANDLE)(self.close),
            WaitForMultipleObjects=c(DWORD, DWORD, HANDLES, INT, DWORD)(self.wait),
        )

    def logs(self) -> WindowsEventLogs:
        return WindowsEventLogs(Library(self.wevtapi, self.kernel32, lambda: self.error, lambda code: f"code {code}"))

    def handle(self, what: Any) -> int:
        self._handle += 1
        self.open[self._handle] = what
        return self._handle

    def fail(self, code: int) -> int:
        self.error = code
        return 0

    def close(self, handle: int) -> int:
        return int(self.open.pop(handle, None) is not None)

    def query(self, session: Any, path: str, query: str, flags: int) -> int:
        assert (session, query) == (None, "*")
        if path != "System":
            return self.fail(ACCESS_DENIED)
        numbers = list(range(self.oldest, self.oldest + len(self.events)))
        return self.handle(numbers[::-1] if flags & QUERY_REVERSE else numbers)

    def subscribe(
        self, session: Any, signal: int, path: str, query: str, place: int | None, context: Any, call: Any, flags: int
    ) -> int:
        assert self.open[signal] == "signal"
        assert (session, path, query, context, call) == (None, "System", "*", None, None)
        assert (place is None) == (flags == SUBSCRIBE_FROM_OLDEST)
        after = 0 if place is None else self.open[place][0]
        if place is not None and after < self.oldest:
            return self.fail(RESULT_STALE)
        return self.handle([n for n in range(self.oldest, self.oldest + len(self.events)) if n > after])

    def next(self, results: int, size: int, handles: Any, patience: int, flags: int, returned: Any) -> int:
        numbers = self.open[results]
        if not numbers:
            return self.fail(NO_MORE_ITEMS)
        now = numbers[: min(size, 3)]
        del numbers[: len(now)]
        for place, number in enumerate(now):
            handles[place] = self.handle(number)
        returned[0] = len(now)
        return 1

    def create_bookmark(self, text: str | None) -> int:
        return self.handle([0 if text is None else int(text.partition("'")[2].partition("'")[0])])

    def update_bookmark(self, bookmark: int, event: int) -> int:
        self.open[bookmark][0] = self.open[event]
        return 1

    def render(self, context: Any, fragment: int, what: int, size: int, buffer: int, used: Any, count: Any) -> int:
        found = self.open[fragment]
        text = f"<B RecordId='{found[0]}'/>" if what == RENDER_BOOKMARK else self.events[found - self.oldest]
        used[0] = (len(text) + 1) * WCHAR
        if used[0] > size:
            return self.fail(INSUFFICIENT_BUFFER)
        ctypes.memmove(buffer, ctypes.create_unicode_buffer(text), used[0])
        return 1

    def log_info(self, log: int, which: int, size: int, variant: int, used: Any) -> int:
        assert (self.open[log], which, size) == ("log", 6, 16)
        ctypes.memmove(variant, self.oldest.to_bytes(8, "little"), 8)
        return 1

    def wait(self, count: int, handles: Any, every: int, milliseconds: int) -> int:
        self.waited.append(([handles[place] for place in range(count)], milliseconds))
        return 0


def test_newest_events_come_oldest_first_each_with_its_bookmark() -> None:
    dll = Dll([f"<Event>ä{number}</Event>" for number in range(1, 11)])
    found = dll.logs().newest("System", 7)
    assert [event.xml for event in found] == [f"<Event>ä{number}</Event>" for number in range(4, 11)]
    assert [event.bookmark for event in found] == [f"<B RecordId='{number}'/>" for number in range(4, 11)]
    assert dll.open == {}


def test_subscription_goes_on_behind_a_bookmark_and_closes_what_it_opened() -> None:
    dll = Dll(["<Event/>"] * 10)
    logs = dll.logs()
    subscription = logs.subscribe("System", "<B RecordId='4'/>")
    assert [event.bookmark for event in subscription.take(5)] == [
        f"<B RecordId='{number}'/>" for number in range(5, 10)
    ]
    assert len(subscription.take(5)) == 1
    assert subscription.take(5) == []
    logs.wait([subscription], 1.5)
    assert [milliseconds for _, milliseconds in dll.waited] == [1500]
    assert [dll.open[handle] for handle in dll.waited[0][0]] == ["signal"]
    subscription.close()
    subscription.close()
    assert dll.open == {}
    everything = logs.subscribe("System", None)
    assert len(everything.take(100)) == 10
    everything.close()
    assert dll.open == {}


def test_event_that_is_larger_than_the_buffer_is_whole() -> None:
    large = "x" * RENDER_BYTES * 3
    dll = Dll(["<Event/>", large])
    assert [event.xml for event in dll.logs().newest("System", 5)] == ["<Event/>", large]


def test_what_windows_refuses_is_an_error_and_nothing_stays_open() -> None:
    dll = Dll(["<Event/>"] * 3)
    dll.oldest = 10
    logs = dll.logs()
    with pytest.raises(EventLogError, match="code 15011") as stale:
        logs.subscribe("System", "<B RecordId='4'/>")
    assert stale.value.code == RESULT_STALE
    with pytest.raises(EventLogError) as denied:
        logs.newest("Security", 5)
    assert denied.value.code == ACCESS_DENIED
    assert logs.oldest("System") == 10
    assert dll.open == {}
