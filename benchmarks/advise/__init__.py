"""What `millstream advise --workers` predicts, against real queues.

`python -m benchmarks.advise --save` runs it and writes benchmarks/results/advise_wait.md.
"""
