"""What people look at: pictures made from the tables of the lake.

Belongs here: which figures a report shows and how it is drawn. Does not belong here: how the figures' tables are made
(`flatten`).
"""
