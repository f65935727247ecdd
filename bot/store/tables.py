"""The tables. What a row means stands here; how rows come and go stands with the port that writes them.

Times are Unix seconds. No native JSON, UUID or timestamp types: both databases hold the very same text.
"""

from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("thread", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("lease_holder", Text),
    Column("lease_until", Double),
    UniqueConstraint("thread"),
)
"""One row a thread. `last_seq` is what appends compete for; the lease runs by the database's clock."""

events = Table(
    "events",
    metadata,
    Column("conversation_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("conversation_id", "seq"),
)
"""The log, never changed. `body` is JSON: the wire shape without id and timestamp."""

deliveries = Table(
    "deliveries",
    metadata,
    Column("service", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("received_at", Double, nullable=False, index=True),
    PrimaryKeyConstraint("service", "id"),
)
"""Deliveries that asked for work, kept for as long as a provider may send them again."""

requests = Table(
    "requests",
    metadata,
    Column("conversation_id", Text, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("meaning", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("asked_at", Double, nullable=False),
    Column("admitted_at", Double),
    PrimaryKeyConstraint("conversation_id", "seq"),
    UniqueConstraint("meaning"),
    Index("ix_requests_phase", "phase", "asked_at"),
    # both of what was admitted alone (0003); to say so here would import the dialect of PostgreSQL at every start
    Index("ix_requests_account", "service", "account", "admitted_at"),
    Index("ix_requests_place", "service", "place", "admitted_at"),
)
"""Every Asked event, who asked, and how far it has come: asked, waiting, connected (it waited when an account
of its user was linked, and nobody has looked at it since), admitted, closed. `admitted_at` stays."""

sweeps = Table(
    "sweeps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Column("found", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("trouble", Text, nullable=False),
)
"""What each sweep found the last time, and in all."""

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("service", Text, nullable=False),
    Column("id", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("linked_at", Double, nullable=False),
    PrimaryKeyConstraint("service", "id"),
)
"""Whose account is whose."""

secrets = Table(
    "secrets",
    metadata,
    Column("user_id", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("updated_at", Double, nullable=False),
    PrimaryKeyConstraint("user_id", "service"),
)
"""Tokens, sealed for the very row that they stand in."""
