"""Where samples come from: files, pipes and iterables, with exact positions and rejects."""

from __future__ import annotations

from streamnet.sources.base import Source
from streamnet.sources.columnar import ColumnarSource
from streamnet.sources.columns import Columns
from streamnet.sources.drift import Drift
from streamnet.sources.drift import Guarded
from streamnet.sources.files import open_files
from streamnet.sources.iterable import IterableSource
from streamnet.sources.order import Limited
from streamnet.sources.order import Repeated
from streamnet.sources.reasons import Reason
from streamnet.sources.retrying import Retried
from streamnet.sources.rows import RowReader
from streamnet.sources.shuffling import Shuffled
from streamnet.sources.text import TextSource

__all__ = (
    "ColumnarSource",
    "Columns",
    "Drift",
    "Guarded",
    "IterableSource",
    "Limited",
    "Reason",
    "Repeated",
    "Retried",
    "RowReader",
    "Shuffled",
    "Source",
    "TextSource",
    "open_files",
)
