"""What speaks HTTP, whoever answers: triggers, monitors, the demo.

General layout, in the order of a request:

    server      takes the port, serves until a signal, drains
    guard       refuses what should not come in: host, origin, token, size, rate; adds the security headers
    access      what the guard compares with: names and tokens
    rates       how much one client may ask
    answers     how errors and values are answered, everywhere the same
"""
