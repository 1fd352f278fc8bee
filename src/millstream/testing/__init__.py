"""The kit for tests: the project's own and those of its users.

General layout:

    stream_test      StreamTest: a stream without files and without waiting; crashes between any two records
    sink_recorder    what stands in for the sinks of a stream under test
    stream_pipeline  a pipeline of every kind of step, and by brute force what must come out
    stream_outside   the same with a table, a function that is called, and files
    fake_clock       a clock that stands still until told otherwise
    engine_suite     every promise of `millstream.engines.protocol.Engine` as a test; an engine binds it in a few lines
    sink_suite       what every sink promises, as tests; sink_faults: a sink that is interrupted
    operator_histories  random histories of a stream's operator: interleaved, chopped, crashed (needs hypothesis)
    engine_machine   random histories of an engine, compared step by step with the memory engine (needs hypothesis);
                     engine_views: by what they are compared
    disk, crash_vfs  a disk that forgets what was not synced, for SQLite (needs apsw)
    file_faults      full disks and I/O errors at a chosen file operation of SQLite (needs apsw)
    raw_batches      bytes in and out of an engine
    histories        what readers and writers were told, compared with what a log holds after a crash

`EngineSuite` needs pytest, so it is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millstream.testing.fake_clock import FakeClock

if TYPE_CHECKING:
    from millstream.testing.engine_suite import EngineSuite
    from millstream.testing.stream_test import CRASH, StreamTest

__all__ = ["CRASH", "EngineSuite", "FakeClock", "StreamTest"]


def _find(name: str) -> Any:
    if name in ("CRASH", "StreamTest"):
        from millstream.testing import stream_test

        return getattr(stream_test, name)
    if name != "EngineSuite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    # Before the import, so that a failing assertion of the suite shows both sides.
    pytest.register_assert_rewrite("millstream.testing.engine_suite")
    from millstream.testing.engine_suite import EngineSuite

    return EngineSuite


if not TYPE_CHECKING:  # to a type checker, a module with it has every name there is
    __getattr__ = _find
