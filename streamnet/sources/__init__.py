"""Sources of samples: files, pipes and iterables, with exact positions and rejected records."""

from __future__ import annotations

from streamnet.sources.base import Source
from streamnet.sources.columns import Columns
from streamnet.sources.files.columnar import ColumnarSource
from streamnet.sources.files.registry import open_files
from streamnet.sources.files.text_source import TextSource
from streamnet.sources.iterable import IterableSource
from streamnet.sources.rejection import Reason
from streamnet.sources.rows import RowReader
from streamnet.sources.wrappers.repeat import LimitedSource, RepeatedSource
from streamnet.sources.wrappers.retry import RetryingSource
from streamnet.sources.wrappers.schema_drift import GuardedSource, SchemaDrift
from streamnet.sources.wrappers.shuffle import ShuffledSource

__all__ = (
    "ColumnarSource",
    "Columns",
    "GuardedSource",
    "IterableSource",
    "LimitedSource",
    "Reason",
    "RepeatedSource",
    "RetryingSource",
    "RowReader",
    "SchemaDrift",
    "ShuffledSource",
    "Source",
    "TextSource",
    "open_files",
)
