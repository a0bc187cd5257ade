"""Sources of samples: files, pipes and iterables, with exact positions and rejected records.

To add a source, subclass `Source`, or `SourceWrapper` around another one, in a module of its own,
and export it here. To add a file format, see `streamnet.sources.files.registry`; to add a message
broker, `streamnet.sources.brokers.registry`.
"""

from __future__ import annotations

from streamnet.sources.base import Reason, Source
from streamnet.sources.columns import Columns, SchemaDrift
from streamnet.sources.files.columnar import ColumnarSource
from streamnet.sources.files.registry import open_files
from streamnet.sources.files.text_source import TextSource
from streamnet.sources.iterable import IterableSource
from streamnet.sources.roles import IdentifiedSource, WeightedSource
from streamnet.sources.rows import RowReader
from streamnet.sources.shuffle import ShuffledSource
from streamnet.sources.sql import SqlSource
from streamnet.sources.wrappers import (
    GuardedSource,
    LimitedSource,
    RepeatedSource,
    RetryingSource,
    SourceWrapper,
)

__all__ = (
    "ColumnarSource",
    "Columns",
    "GuardedSource",
    "IdentifiedSource",
    "IterableSource",
    "LimitedSource",
    "Reason",
    "RepeatedSource",
    "RetryingSource",
    "RowReader",
    "SchemaDrift",
    "ShuffledSource",
    "Source",
    "SourceWrapper",
    "SqlSource",
    "TextSource",
    "WeightedSource",
    "open_files",
)
