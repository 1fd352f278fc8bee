"""An application at work in one process.

General layout:

    load.py         from `app.py` or `module:name` to an App
    reader.py       Reader: what the supervisor needs of a queue or a stream
    supervisor.py   Supervisor: a thread a reader, restarted with growing delays; a soft stop
    signals.py      SIGINT and SIGTERM become a stop
    until_now.py    handle all there is, then return
"""
