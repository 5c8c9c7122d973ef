"""Whether a table can be believed: checks as plain functions over tables, each with a sentence and its figures.

Belongs here: what is expected of a table and what was found. Does not belong here: making tables (`flatten`, `derive`),
and what a failed check stops (`defs`).
"""
