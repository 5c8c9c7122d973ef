"""The Dagster graph, thin: what is an asset, when it runs and what the UI shows of it.

Belongs here: everything that imports Dagster, apart from the command. Does not belong here: how answers are fetched
(`sources`), what they mean (`flatten`) and how files are replaced (`lake`).
"""
