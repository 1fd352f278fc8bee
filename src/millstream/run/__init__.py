"""An application at work, in one process or several.

General layout:

    readers.py          Readers: what a program declares; triggering.py: its triggers; sourcing.py: its sources
    load.py             from `app.py` or `module:name` to an App; place.py: where it is, for another process
    reader.py           Reader: what the supervisor needs of a queue, a stream, a batch
    supervisor.py       Running: a thread a reader, restarted with growing delays; a soft stop
    processes.py        the workers of a queue as processes; worker_process.py: one of them
    signals.py          SIGINT and SIGTERM become a stop; service_manager.py: what systemd is told
    until_now.py        handle all there is, then return
"""
