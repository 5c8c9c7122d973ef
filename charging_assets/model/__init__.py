"""The data model (`tables`) and what is derived from it."""
