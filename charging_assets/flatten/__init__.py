"""Raw answers -> status facts, poll log and rejected records: the hot path.

`chargecloud` reads an answer, `pieces` keeps each distinct location once, `facts` turns answers x pieces into sorted
rows, `day` and `current` make the tables.
"""
