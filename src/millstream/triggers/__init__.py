"""What starts something: a request, a file, a time, a record.

General layout:
    protocol    what a trigger is: a description, its events in a topic, who follows
    schedule    when something is due: cron, intervals, a moment; pure; cron_fields: days and times of an expression
    times       cron, every, at: what is due, each once however many processes look
    following   what follows a topic: matching (records that match, or so many), absence (records that do not come)
    quiet       the last event of a storm
    memory      what a trigger remembers, in the transaction that writes its events
    calling     how the function behind @app.on is called
    http/       requests, signed or not; uploads; CloudEvents
    inbox/      files, once they are completely written; objects: those of an object store
    sizes       how large something is, as people write it
"""
