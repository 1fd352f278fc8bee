"""Records that a queue gave up on, as something to work with. What a dead letter is: `millstream.log.dead_letter`.

General layout:

    letters     DeadLetters: list, look, send back, change, throw away
    filter      which of them are meant
    value       from a letter, or from JSON that a person wrote, back to a value of the topic
    redrive     what is done with them; claim: once, whatever fails in between
"""
