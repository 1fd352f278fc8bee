"""The thread of a reader, when Ctrl-C reaches what it runs, and when it fails."""

from __future__ import annotations

import threading

import pytest

from millstream.errors import SinkError
from millstream.run.supervisor import Running

PATIENCE_S = 60.0


class Interrupted:
    """A reader that Polars would interrupt: its first run ends with a KeyboardInterrupt."""

    kind = "stream"
    name = "s"

    def __init__(self, *, stops: bool) -> None:
        self._stops = stops
        self.runs = 0
        self.ran_again = threading.Event()

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self.runs == 1:
            if self._stops:
                stop.wait(PATIENCE_S)
            raise KeyboardInterrupt
        self.ran_again.set()
        stop.wait(PATIENCE_S)

    def run_now(self, stop: threading.Event) -> int:
        return 0


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_query_that_is_interrupted_while_the_program_stops_ends_in_silence() -> None:
    reader = Interrupted(stops=True)
    running = Running([reader])
    assert running.stop(PATIENCE_S)
    assert reader.runs == 1
    assert running.readers()[0].state == "stopped"


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_query_that_is_interrupted_in_a_program_that_goes_on_is_run_again() -> None:
    reader = Interrupted(stops=False)
    with Running([reader]):
        assert reader.ran_again.wait(PATIENCE_S)


class Failing(Interrupted):
    """A reader whose first run ends with an error."""

    def __init__(self, error: Exception, cause: Exception | None) -> None:
        super().__init__(stops=False)
        self._error, self._cause = error, cause

    def run(self, stop: threading.Event) -> None:
        self.runs += 1
        if self.runs == 1:
            raise self._error from self._cause
        self.ran_again.set()


@pytest.mark.parametrize(
    ("error", "cause", "traced"),
    [
        (SinkError("away"), SinkError("does not answer"), False),
        (SinkError("away"), OSError(28, "No space left on device"), False),
        (SinkError("away"), ValueError("in a function of a user"), True),
        (ValueError("a defect"), None, True),
    ],
)
def test_where_an_error_was_raised_is_said_of_defects_only(
    error: Exception, cause: Exception | None, traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Failing(error, cause)
    with Running([reader]):
        assert reader.ran_again.wait(PATIENCE_S)
    [record] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert str(error) in record.getMessage()
    assert (record.exc_info is not None) is traced
