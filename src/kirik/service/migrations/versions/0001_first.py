"""The reading room's first tables, and the trail that cannot be changed."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None
branch_labels = depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_COUNTED = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("state IN ('waiting', 'reading')")
_TABLES = (
    "workers",
    "options",
    "counters",
    "changes",
    "trail",
    "reviews",
    "readings",
    "submissions",
    "studies",
    "hits",
    "tokens",
    "sessions",
    "accounts",
)
_REFUSAL = "the audit trail is only ever added to"
_SQLITE_TRIGGERS = {
    "trail_no_update": "BEFORE UPDATE ON trail",
    "trail_no_delete": "BEFORE DELETE ON trail",
    # INSERT OR REPLACE deletes what it replaces.
    "trail_no_replace": "BEFORE INSERT ON trail "
    "WHEN EXISTS (SELECT 1 FROM trail WHERE number = NEW.number)",
}
_POSTGRESQL_TRIGGERS = {
    "trail_no_change": "BEFORE UPDATE OR DELETE ON trail FOR EACH ROW",
    "trail_no_truncate": "BEFORE TRUNCATE ON trail FOR EACH STATEMENT",
}


def upgrade() -> None:
    _people()
    _studies()
    _rest()
    _guard()
    counters = sa.table("counters", sa.column("name"), sa.column("value"), sa.column("text"))
    rows = [{"name": name, "value": 0, "text": ""} for name in ("changes", "trail")]
    # The chain's first line follows this hash.
    rows[1]["text"] = "0" * 64
    op.bulk_insert(counters, rows)


def downgrade() -> None:
    for table in _TABLES:
        op.drop_table(table)  # its indexes and triggers with it
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION kirik_refuse_change")


def _guard() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for name, when in _SQLITE_TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END")
        return
    op.execute(
        "CREATE FUNCTION kirik_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for name, when in _POSTGRESQL_TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION kirik_refuse_change()")


def _people() -> None:
    op.create_table(
        "accounts",
        sa.Column("number", _COUNTED, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("password", sa.String(length=200), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("patients", sa.Boolean(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=True),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("number", name="pk_accounts"),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
    )
    op.create_table(
        "sessions",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("account_number", _COUNTED, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_seen_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_number"],
            ["accounts.number"],
            name="fk_sessions_account_number",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key", name="pk_sessions"),
    )
    op.create_index("ix_sessions_account_number", "sessions", ["account_number"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=28), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("patients", sa.Boolean(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_used_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("key", name="uq_tokens_key"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
    )
    op.create_table(
        "hits",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("until", _MOMENT, nullable=False),
        sa.Column("locked_until", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("key", name="pk_hits"),
    )
    op.create_index("ix_hits_until", "hits", ["until"])


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", sa.String(length=28), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("words", sa.String(length=200), nullable=False),
        sa.Column("exam", sa.String(length=64), nullable=True),
        sa.Column("patient_name", sa.String(length=200), nullable=True),
        sa.Column("patient_id", sa.String(length=80), nullable=True),
        sa.Column("patient_words", sa.String(length=300), nullable=False),
        sa.Column("received_at", _MOMENT, nullable=False),
        sa.Column("received_by", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("decision", sa.String(length=120), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("region", sa.String(length=120), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("read_at", _MOMENT, nullable=True),
        sa.Column("model", sa.String(length=280), nullable=True),
        sa.Column("reviewed", sa.String(length=12), nullable=True),
        sa.Column("urgency", sa.Integer(), nullable=False),
        sa.Column("unlikeliness", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease", sa.String(length=64), nullable=True),
        sa.Column("lease_until", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("sha256", name="uq_studies_sha256"),
    )
    op.create_index("ix_studies_blob", "studies", ["blob"])
    op.create_index("ix_studies_exam", "studies", ["exam"])
    op.create_index("ix_studies_lease", "studies", ["lease"])
    op.create_index(
        "ix_studies_open", "studies", ["id"], sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_index("ix_studies_order", "studies", ["urgency", "unlikeliness", "id"])
    op.create_index("ix_studies_received_at", "studies", ["received_at"])
    op.create_index("ix_studies_region", "studies", ["region", "urgency", "unlikeliness", "id"])
    op.create_index("ix_studies_reviewed", "studies", ["reviewed", "urgency", "unlikeliness", "id"])
    op.create_table(
        "submissions",
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("study_id", sa.String(length=28), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_submissions_study_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("by", "study_id", name="pk_submissions"),
    )
    op.create_index("ix_submissions_study_id", "submissions", ["study_id"])
    op.create_table(
        "readings",
        sa.Column("number", _COUNTED, autoincrement=True, nullable=False),
        sa.Column("study_id", sa.String(length=28), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=280), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("decision", sa.String(length=120), nullable=True),
        sa.Column("probability", sa.Double(), nullable=True),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("strangeness", sa.Double(), nullable=True),
        sa.Column("attributes", sa.JSON(), nullable=False),
        sa.Column("region", sa.String(length=120), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=False),
        sa.Column("peak", sa.JSON(), nullable=True),
        sa.Column("warnings", sa.JSON(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("orientation", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_readings_study_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_readings"),
        sa.UniqueConstraint("study_id", "frame", "model", name="uq_readings_study_id_frame_model"),
    )
    op.create_table(
        "reviews",
        sa.Column("number", _COUNTED, autoincrement=True, nullable=False),
        sa.Column("study_id", sa.String(length=28), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=280), nullable=True),
        sa.Column("agrees", sa.Boolean(), nullable=False),
        sa.Column("decision", sa.String(length=12), nullable=False),
        sa.Column("boxes", sa.JSON(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_reviews_study_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name="pk_reviews"),
    )
    op.create_index("ix_reviews_at", "reviews", ["at"])
    op.create_index("ix_reviews_study_id", "reviews", ["study_id"])


def _rest() -> None:
    op.create_table(
        "trail",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("who", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_trail"),
    )
    op.create_index("ix_trail_subject", "trail", ["subject"])
    op.create_index("ix_trail_who", "trail", ["who"])
    op.create_table(
        "changes",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("study_id", sa.String(length=28), nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_changes"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "options",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_options"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=28), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("process", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=280), nullable=True),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("read", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_index("ix_workers_seen_at", "workers", ["seen_at"])
