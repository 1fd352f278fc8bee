"""The thread of a reader, when Ctrl-C reaches what it runs."""

from __future__ import annotations

import threading

import pytest

from millstream.run.supervisor import Running

PATIENCE_S = 20.0


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
