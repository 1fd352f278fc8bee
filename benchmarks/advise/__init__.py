"""What `millstream advise --workers` predicts, against real queues.

`python -m benchmarks.advise --save` runs it, for about a quarter of an hour on a quiet machine, and writes
benchmarks/results/advise_wait.md.
"""
