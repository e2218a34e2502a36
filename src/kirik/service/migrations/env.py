"""What Alembic runs: the versions, on the connection and in the transaction that it is given."""

from alembic import context

from kirik.service.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite can alter little: a table is copied instead
)
context.run_migrations()
