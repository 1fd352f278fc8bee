"""The peers: one file each, run by the Python of their virtual environment.

A file defines `sender()`, which returns a function that enqueues one job (asynchronous ones: a coroutine function), and
`workers(processes)`, the commands that start that many worker processes. The address of the server is $PEER_URL.
"""
