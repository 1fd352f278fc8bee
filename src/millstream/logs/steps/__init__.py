"""What is done with events before they are stored: `[[step]]` tables of a configuration, in their order.

General layout:
    step        what a step is; the keys that all kinds share
    chain       steps one after another, and what each leaves out
    redact      secrets and personal data, before they reach the disk; redactor: what takes them out
    patterns    how they look; tokens: what replaces them
    thinning    filter, sample, dedupe, limit: which events are kept
    changes     set, rename, remove, host, received, parse: fields
    setting     what set, remove and received do; renaming, parsing: rename, parse
    computing   compute: fields made of others
    unpacking   unpack: what is packed in a text
    objects     the objects in `fields`: what a name means in one; members: in whole columns, as text
    time_repair time: clocks that are off, zones, years that were guessed
    dns         names of addresses; dns_lookups: the threads that ask for them
    geoip       places of addresses; geoip_database: the files that know them
    useragent   what user agents are
    lookup      what a file of CSV says; lookup_file: how it is read; whole_file: files that are read again
    tables      all kinds by name

All work on columns: a reading is handled at once, however it was cut.
"""
