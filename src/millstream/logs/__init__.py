"""`millstream logs`: this machine's event log, from listener to alert; built from public parts only.

General layout, in the order an event passes:

    application     the program: topics, listeners, rules as one stream, outputs; starts and stops them
    config          what a configuration file says; tables: how its tables are read, and what is said of a wrong one;
                    wrong_types: what is said of a value of another type; extras: packages that only some tables need
    listeners/      [[source]]: where events come from
    steps/          [[step]]: what is done with them before they are stored
    rules           [[rule]]: what a rule may say, checked when it is read
    names           what a name such as `fields.http.status` means, wherever it is written
    where           conditions on events, as SQL; networks: addresses in them
    ignore          whom a rule leaves alone
    detect          when each kind of rule speaks up: pure functions of state and event; memory: what it keeps;
                    parts: which of several conditions an event meets; gathering: whether enough of them came together
    alert           what a rule says; message: its sentence
    sigma           [[sigma]]: public rules; sigma_backend: as conditions; sigma_fields: names of fields;
                    sigma_windows: channels and events of Windows
    outputs         [[output]]: where events and alerts go; delivery: each a stream of its own
    check           runs the examples of a configuration
    reparse         stored lines, read again by newer parsers
    show            events and alerts as lines for a person; in_time: those of several sources in the order of time
    default.toml    the rules that are used unless told
"""
