"""NEXMark: an auction site's persons, auctions and bids, and questions about them, asked of every engine.

generator.py    the events, as a frame, a topic, a Parquet file and lines of JSON
oracle.py       the answers by DuckDB and Polars over the Parquet file
streams.py      the same questions as streams of Millstream
peers/          the same questions for Bytewax, PyFlink and Pathway, each in a virtual environment of its own

Source: Tucker, Tufte, Papadimos, Maier, "NEXMark: A Benchmark for Queries over Data Streams", 2002; the rates, hot
keys and ids of Apache Beam's generator.
"""
