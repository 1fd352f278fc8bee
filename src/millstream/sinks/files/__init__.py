"""Results as files in a folder: lines of JSON, CSV, Parquet; exactly once.

General layout: sink.py says where and how, writer.py does it, staging.py are the hidden files, formats.py what is in a
file, folders.py which folder a row goes to.
"""

from __future__ import annotations

from millstream.sinks.files.sink import FilesSink, files

__all__ = ["FilesSink", "files"]
