"""ShutDown: the standard library's from Python 3.13 on, our own before."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):  # noqa: N818 - the name that it has in the standard library from 3.13 on
        """Raised when put or get is called on a queue that was shut down."""


__all__ = ["ShutDown"]
