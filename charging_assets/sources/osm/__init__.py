"""Points of interest from OpenStreetMap: by Overpass, city by city, or from an extract in PBF.

Both give the same features (`features.py`), filtered and sorted into categories by the same rules (`categories.py`).
"""
