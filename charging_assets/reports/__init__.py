"""What people look at: reports, pictures and exports made from the tables of the lake.

Belongs here: which figures a report shows, how it is drawn and written, and where a figure comes from. Does not belong
here: how the figures' tables are made (`flatten`, `derive`).
"""
