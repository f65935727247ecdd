"""The history of the tables, applied by Alembic. A new step: see the README of this room."""

HEAD = "0004"
"""The revision that this version of the code works with."""
