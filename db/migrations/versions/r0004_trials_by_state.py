"""Trials counted by state without reading them."""

from __future__ import annotations

from alembic import op

revision = "r0004"
down_revision = "r0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Moves the schema to r0004."""
    with op.batch_alter_table("trials", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_trials_study_id_state"), ["study_id", "state"], unique=False)


def downgrade() -> None:
    """Moves the schema back from r0004."""
    with op.batch_alter_table("trials", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_trials_study_id_state"))
