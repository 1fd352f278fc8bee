"""Functions of the user that are called for each record, with state by key or without.

General layout:

    step.py         StatefulStep: what `stateful_map` and `stateful_flat_map` were given
    keys.py         the keys of the records of a piece
    coding.py       StateCoding: state as data, and the types that are
    entry.py        Entry: what is kept of one key
    store.py        KeyedState: entries by key, few of many in memory
    journal.py      Journal: changes of few keys among many, until they are written where they belong
    due.py          DueIndex: which keys are due when, in order of time, few of many in memory
    context.py      Context: what a function may ask and set beside its state
    operator.py     StatefulOperator: state and timers at work
    outgoing.py     Outgoing: what comes out, with the key and time that belong to it
    failing.py      OnError, guarded calls: what happens to a record whose function raises
    awaiting.py     AsyncCaller: functions that are `async`, many records at a time
"""
