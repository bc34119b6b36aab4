"""Alembic's environment and the schema's revisions; `db.migrate` runs them."""
