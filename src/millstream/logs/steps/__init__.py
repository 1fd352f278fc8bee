"""What is done with events before they are stored: `[[step]]` tables of a configuration, in their order.

General layout:
    step        what a step is; the keys that all kinds share
    chain       steps one after another, and what each leaves out
    redact      secrets and personal data, before they reach the disk; redactor: what takes them out
    patterns    how they look; tokens: what replaces them
    thinning    filter, sample, dedupe, limit: which events are kept
    changes     set, rename, remove, host, received, time, parse: fields
    setting     what set, remove and received do; renaming: what rename does; members: the objects in `fields` as text
    tables      all kinds by name

All work on columns: a reading is handled at once, however it was cut.
"""
