"""How busy are Germany's public EV charging points, and how sure are we?

The package is laid out as the data flows; `docs/architecture.md` has the picture.
"""

__version__ = "0.1.0"
