"""The page that shows how well a model learns: live from a daemon, or of a report as one file."""

from streamnet.page.assets import Asset
from streamnet.page.assets import assets
from streamnet.page.single_file import single_file
from streamnet.page.view import view_of

__all__ = ("Asset", "assets", "single_file", "view_of")
