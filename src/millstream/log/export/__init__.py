"""A topic's records as files for other programs, and back.

General layout: texts (values that CSV and JSON have no form for, as text); partitions (files by day or by a column);
writing (a folder of files); reading (files into a topic).
"""
