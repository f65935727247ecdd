"""What sweeps found, where requests were asked; deliveries lose a state that nobody needs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply this step."""
    op.create_table(
        "sweeps",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("trouble", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sweeps")),
    )
    op.create_index(op.f("ix_deliveries_received_at"), "deliveries", ["received_at"], unique=False)
    with op.batch_alter_table("deliveries") as table:
        table.drop_column("state")
    with op.batch_alter_table("requests") as table:
        table.add_column(sa.Column("place", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("admitted_at", sa.Double()))
    with op.batch_alter_table("requests") as table:
        table.alter_column("place", server_default=None)
    op.create_index("ix_requests_account", "requests", ["service", "account", "admitted_at"], unique=False)
    op.create_index("ix_requests_place", "requests", ["service", "place", "admitted_at"], unique=False)
