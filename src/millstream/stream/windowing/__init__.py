"""Windows at work: which records are in which window, what is kept of them, what comes out and when.

General layout:

    step.py         WindowStep: what is asked
    operator.py     WindowOperator: late records, what closes, what is stored; store.py: rows of open windows
    kind.py         Kind: what a kind of window must know: panes.py (tumbling, hopping), sliding.py, sessions.py,
                    whole.py (the global one)
    revisions.py    results before a window is final
"""

from __future__ import annotations

from millstream.stream.windowing.operator import WindowOperator
from millstream.stream.windowing.step import WindowStep

__all__ = ["WindowOperator", "WindowStep"]
