"""Tables made from other tables: dimensions with their history, the calendar, the health of feeds.

Belongs here: what follows from flattened tables, as functions of a lake that return Arrow tables. Does not belong here:
raw answers (`flatten`), judging whether a table is right (`quality`), when anything runs (`defs`).
"""
