"""No index by time on conversations: every event would be written into it, and their list is read far less often."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply this step."""
    op.drop_index("ix_conversations_updated_at", "conversations")
