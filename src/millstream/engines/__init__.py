"""What keeps a log.

General layout:

    protocol        Engine, Maintenance: what every engine promises; values: what goes in and comes out
    joining         batches of rows joined, end to end
    fetching        what an engine may offer beyond it: a worker's next records in one transaction;
                    handing: records handed over for good; transactions: a program's own tables beside the log
    sqlite/         the embedded engine: one file, many processes
    memory/         the shortest correct one: the model that the others are compared with
    connect         from a URL to an engine; alone names them
"""
