"""What speaks HTTP: the click collector, live events, and the demo site.

General layout, in the order of a request:

    server.py       takes the port, serves until a signal, drains
    guard.py        refuses what should not come in: host, origin, token, size, rate; adds the security headers
    access.py       what the guard compares with: names and tokens
    rates.py        how much one client may ask
    answers.py      how errors and values are answered, everywhere the same
    clicks.py       a click: as the browser sends it and as the log keeps it
    collector.py    clicks in, durable, once and in order
    live.py         what happens, told to every open page (server-sent events)
    files.py        static files, held in memory
    demo/           `millstream demo`: a small site with everything at work
"""
