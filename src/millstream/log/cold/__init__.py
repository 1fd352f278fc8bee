"""Cold records: old batches as Parquet files, which any tool can read, and one log across both.

General layout: policy (what becomes cold, and where it lies); upkeep (what should become cold now); reference (what
the log keeps in place of the records); form (columns as Parquet holds them); writing (one file); store (the folder or
object store), lock (one process at a time); compaction (from hot to cold); reading, scan (records and frames back);
files (those that a log refers to), copying (a backup with them), sweeping (those it does not name), checking (for
`doctor`).

A file is part of the log from the commit on that puts references in place of the batches. Before that it is a leftover,
which the next sweep removes; after it the batches are gone. So a crash at any step loses nothing and doubles nothing.
"""
