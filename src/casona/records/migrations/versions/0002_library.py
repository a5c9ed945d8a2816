"""The library: collections, documents and what they hold, files that have come in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LargeId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _collections()
    _contents()
    _documents()
    _pages_and_passages()
    _arrivals()


def downgrade() -> None:
    for table in ("arrivals", "passages", "pages", "documents", "contents", "collections"):
        op.drop_table(table)


def _collections() -> None:
    op.create_table(
        "collections",
        sa.Column("id", _LargeId, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )


def _contents() -> None:
    op.create_table(
        "contents",
        sa.Column("id", _LargeId, primary_key=True, autoincrement=False),
        sa.Column("collection_id", _LargeId, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("recipe", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.Integer, nullable=False),
        sa.Column("passages", sa.Integer, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.UniqueConstraint("collection_id", "hash", "recipe", name="contents_identity"),
    )
    op.create_index("contents_hash", "contents", ["hash"])


def _documents() -> None:
    op.create_table(
        "documents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("collection_id", _LargeId, sa.ForeignKey("collections.id"), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("content_id", _LargeId, sa.ForeignKey("contents.id"), nullable=False),
        sa.Column("added", sa.Float, nullable=False),
        sa.Column("updated", sa.Float, nullable=False),
        sa.UniqueConstraint("collection_id", "source", name="documents_identity"),
    )
    op.create_index("documents_content", "documents", ["content_id"])


def _pages_and_passages() -> None:
    op.create_table(
        "pages",
        sa.Column("content_id", _LargeId, sa.ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "passages",
        sa.Column("id", _LargeId, primary_key=True, autoincrement=False),
        sa.Column("content_id", _LargeId, sa.ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("heading", sa.Text, nullable=False),
    )
    op.create_index("passages_content", "passages", ["content_id"])


def _arrivals() -> None:
    op.create_table(
        "arrivals",
        sa.Column("id", _LargeId, primary_key=True),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("arrived", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("arrivals_hash", "arrivals", ["hash"])
