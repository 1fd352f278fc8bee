"""What `millstream advise --workers` predicts, against real queues.

`python -m benchmarks.advise --runs 20 --save` runs it, for a quarter of an hour on a quiet machine, and writes
benchmarks/results/advise_wait.md. Its runs sleep most of the time and go side by side. How quiet the machine was, the
table says: sleeps that took a millisecond longer than asked, and hand-overs of more than half a one, are the machine's.
"""
