"""Two indexes that count what was admitted hold only that: a request need not be written into them when it is asked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply this step."""
    admitted = sa.text("admitted_at IS NOT NULL")
    for who in ("account", "place"):
        op.drop_index(f"ix_requests_{who}", "requests")
        op.create_index(
            f"ix_requests_{who}",
            "requests",
            ["service", who, "admitted_at"],
            sqlite_where=admitted,
            postgresql_where=admitted,
        )
