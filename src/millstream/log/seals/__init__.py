"""Tamper evidence: what a topic's records were when they were appended, as a chain of digests in a topic beside it.

General layout:
    digest   a record as bytes that do not depend on how it is stored, and their digest
    seal     one link of the chain: the digests of the records of one append
    key      the secret, if any, without which nobody can make a link
    sealer   adds links, in the transaction of the append
    check    compares records and chain, and names the first record that is not what it was
"""
