"""Which of queue, stream and batch fits, and how many workers it takes: from what the log has seen, with reasons.

General layout:

    arrivals.py     when records came: from the headers of batches, or generated; rate, burstiness, peaks
    service.py      how long work on one record takes: as the workers told, or as somebody says
    facts.py        what is known of a topic and of what is wanted of it
    observing.py    the facts that a log knows by itself
    rules.py        one function a reason
    choice.py       the answer, its reasons, and what would change it
    questions.py    the facts that a person knows: the questionnaire
    starting.py     the code to start from
    demand.py       what a queue will have to do: arrivals and service times, recorded or assumed
    formulas.py     M/M/c, M/G/c, Little's law
    simulation.py   the same question, answered by playing recorded arrivals
    plan.py         how many workers a latency or a deadline needs, by formula and by simulation
    picture.py      a plan as a picture: SVG
    wording.py      numbers as people say them
"""
