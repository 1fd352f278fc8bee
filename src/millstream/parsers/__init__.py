"""From bytes to records.

General layout:
    system_event    what every parser of the system log makes: SystemEvent
    log_event       the same and what it means, in the words that are the same on every system: LogEvent
    pattern         one regular expression, for a line and for a column
    texts           lines as columns
    syslog          one line of a text file under /var/log
    log_lines       the lines of such a file and what they mean, a few or many at once
    journal         one entry of the systemd journal, as journalctl writes it in JSON
    access          access logs of web servers
    event_parser    a parser that reads line by line; what those share
    json_lines, key_values, ltsv, server_errors, databases, slow_queries, w3c, security_messages, audit
                    what each format says of one line
    json_shapes, json_access
                    what the names of one product mean in JSON; requests of the web in it, whoever wrote them
    logins, devices, broker, otlp
                    what the lines of JSON mean that these sources make; audit_records: auditd's records, taken apart
    windows         the Windows event log: windows_record (JSON, XML), windows_meaning (what a table says of a number):
                    windows_security, windows_system; windows_codes, windows_devices: numbers and names in words;
                    windows_csv: rows of the Event Viewer
    macos           the unified log of macOS; macos_messages: what its programs say
    grok            patterns of a user's own
    application, containers, delimited, proxies, haproxy
                    the same: applications, what runtimes put around lines, CSV and Zeek, proxies and load balancers
    clocks          lines that begin with a clock and no date
    times, months, leading_time, levels, named
                    times of any form, also in front of a line; words for how bad it is, fields under whatever name
    templates/      what kinds of lines there are, where no format is known
    formats, choose all formats by name; which one some lines are in
    messages/       what programs say: sshd, sudo, su, logins, systemd, cron, the kernel's USB, accounts

A parser is pure: it gets the time instead of asking for it, keeps the raw line, and never fails on a line; what it does
not understand is the message.
"""
