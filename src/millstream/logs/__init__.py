"""`millstream logs`: this machine's event log, from listener to alert; built from public parts only.

General layout:
    application   the program: topics, listeners, rules as one stream; starts and stops them
    rules         what a rules file may say, checked when it is read
    where         conditions on events, as SQL
    detect        what each kind of rule keeps and when it speaks up: pure functions of state and event
    alert         what a rule says
    check         runs the examples of a rules file
    show          events and alerts as lines for a person
    default.toml  the rules that are used unless told
"""
