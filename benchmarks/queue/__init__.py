"""What the queue claims, one file a claim, beside the queues that Python teams use today.

`python -m benchmarks.queue --save` runs all and writes benchmarks/results/queue_*.md. The peers live in virtual
environments of their own (peers*.txt), which the first run makes; Redis comes from the system (`redis-server`), NATS
from a wheel. Both are started here, on a free port of the loopback interface, and ended here.
"""
