"""Benchmarks of the stream reader: `python -m benchmarks.stream [NAME ...]`."""
