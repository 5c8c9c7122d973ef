"""What can go wrong with OpenStreetMap's data, in sentences for whoever can act on them."""


class OsmError(Exception):
    """A file of categories, an extract or a download cannot be used; the message says what to do about it."""
