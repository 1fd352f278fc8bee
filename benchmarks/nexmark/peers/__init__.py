"""The queries for other stream processors; each file runs in an environment of its own (environments.py):

python FILE QUERY INPUT OUTPUT

    INPUT    the events as lines of JSON, times in ISO 8601 (WordCount: lines with `text`)
    OUTPUT   a file or folder for the answer, as lines of JSON with the oracle's columns

Prints how long the run took as JSON: {"seconds": 1.5}. Written as each project's own documentation does it.
"""
