"""Cold records: old batches as Parquet files, which any tool can read, and one log across both.

General layout: policy (what becomes cold, and where it lies); reference (what the log keeps in place of the records);
form (columns as Parquet holds them); writing (one file); store (the folder or object store); compaction (from hot to
cold); reading (records and frames back); sweeping (files that the log does not name); checking (for `doctor`).

A file is part of the log from the commit on that puts references in place of the batches. Before that it is a leftover,
which the next sweep removes; after it the batches are gone. So a crash at any step loses nothing and doubles nothing.
"""
