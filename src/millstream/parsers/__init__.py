"""From bytes to records.

General layout:
    system_event    what every parser of the system log makes: SystemEvent
    syslog          one line of a text file under /var/log
    journal         one entry of the systemd journal, as journalctl writes it in JSON

A parser is pure: it gets the time instead of asking for it, keeps the raw line, and never fails on a line; what it does
not understand is the message.
"""
