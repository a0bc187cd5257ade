"""The page as one file: a report and all assets inlined, so that it needs no server."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

from streamnet.page.assets import INDEX
from streamnet.page.assets import assets

__all__ = ("single_file",)

_STYLE = re.compile(r'<link rel="stylesheet" href="page/([^"]+)">')
_SCRIPT = re.compile(r'<script src="page/([^"]+)"></script>')
_FIRST_SCRIPT = '<script src="page/'
# What could end the element that the data stands in, or begin a comment there. JSON reads the
# escapes as the same characters.
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def single_file(view: dict[str, Any]) -> bytes:
    """The page of a view, see `view_of`, as an HTML file in UTF-8.

    Its Content-Security-Policy names its own scripts and styles by hash (W3C, CSP Level 3, 2.3.1),
    and allows nothing else: whatever labels or records hold, nothing runs and nothing is fetched.

    Args:
        view: What the page shows, as JSON can hold it.

    Raises:
        ValueError: If the view has a number that JSON doesn't have.

    >>> page = single_file({"status": {"target": "</script><script>alert(1)</script>"}})
    >>> b"alert(1)</script>" in page, b"https://" in page.partition(b"<body>")[0]
    (False, False)
    """
    index = _text(INDEX)
    styles = [_text(name) for name in _STYLE.findall(index)]
    scripts = [_text(name) for name in _SCRIPT.findall(index)]
    data = json.dumps(view, allow_nan=False, separators=(",", ":")).translate(_ESCAPED)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {' '.join(map(_hash, styles))}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # First the places, then the texts: a text that looks like a place stays what it is.
    index = index.replace(
        '<meta charset="utf-8">',
        f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{policy}">',
    )
    before, first, after = index.partition(_FIRST_SCRIPT)
    index = f'{before}<script type="application/json" id="report">{data}</script>\n{first}{after}'
    index = _STYLE.sub(lambda match: f"<style>{_text(match[1])}</style>", index)
    index = _SCRIPT.sub(lambda match: f"<script>{_text(match[1])}</script>", index)
    return index.encode()


def _text(name: str) -> str:
    return assets()[name].data.decode()


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
