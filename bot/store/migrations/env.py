"""Alembic's entry: it runs this file, with the connection that `upgrade` hands over. Not for importing."""

from alembic import context

from bot.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
