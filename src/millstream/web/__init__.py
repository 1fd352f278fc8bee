"""What speaks HTTP: the click collector, live events, and the demo site.

General layout, in the order of a request; server, guard and answers are in `serving/`:

    clicks.py       a click: as the browser sends it and as the log keeps it
    collector.py    clicks in, durable, once and in order
    live.py         what happens, told to every open page (server-sent events)
    files.py        static files, held in memory
    tracking.py     tracker and collector together, for a site of one's own
    operations.py   what monitors ask an application: metrics.py, stream_metrics.py, listener_metrics.py: for
                    Prometheus
    demo/           `millstream demo`: a small site with everything at work
"""
