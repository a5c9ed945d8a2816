"""The tables of the library. They are the truth: vectors and terms are derived from them.

    collections 1-n documents n-1 contents 1-n pages, passages          arrivals

A document is (collection, source); what a source held is its content, shared by the documents of a
collection whose bytes are the same and gone with the last of them. There is no half of anything: content,
pages, passages and the document that brings them appear in one transaction. Until then a file that has come
in is an arrival, which a restart finds and goes on with. Times are unix seconds.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from casona.records.tables import metadata

LargeId = BigInteger().with_variant(Integer, "sqlite")  # SQLite's own row ids are of type INTEGER

collections = Table(
    "collections",
    metadata,
    Column("id", LargeId, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("embedder", Text, nullable=False),  # "builtin" or model@node, and what it was then
    Column("digest", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),  # counts changes; an index of another one is stale
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,  # no id is ever used again
)

contents = Table(
    "contents",
    metadata,
    Column("id", LargeId, primary_key=True, autoincrement=False),  # the arrival's
    Column("collection_id", LargeId, ForeignKey("collections.id"), nullable=False),
    Column("hash", Text, nullable=False),  # SHA-256 of the file, in hex
    Column("recipe", Text, nullable=False),  # versions and settings of parser and splitter
    Column("title", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("passages", Integer, nullable=False),
    Column("notes", Text, nullable=False),  # a JSON array
    UniqueConstraint("collection_id", "hash", "recipe", name="contents_identity"),
    Index("contents_hash", "hash"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("collection_id", LargeId, ForeignKey("collections.id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("content_id", LargeId, ForeignKey("contents.id"), nullable=False),
    Column("added", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("collection_id", "source", name="documents_identity"),
    Index("documents_content", "content_id"),
)

pages = Table(
    "pages",
    metadata,
    Column("content_id", LargeId, ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text, nullable=False),
)

passages = Table(
    "passages",
    metadata,
    Column("id", LargeId, primary_key=True, autoincrement=False),
    Column("content_id", LargeId, ForeignKey("contents.id", ondelete="CASCADE"), nullable=False),
    Column("page", Integer, nullable=False),
    Column("start", Integer, nullable=False),  # code points in the page's text
    Column("end", Integer, nullable=False),
    Column("heading", Text, nullable=False),  # a JSON array
    Index("passages_content", "content_id"),
)

arrivals = Table(
    "arrivals",
    metadata,
    Column("id", LargeId, primary_key=True),
    Column("collection", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("arrived", Float, nullable=False),
    Index("arrivals_hash", "hash"),
    sqlite_autoincrement=True,
)
