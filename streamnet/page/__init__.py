"""The web page that shows how well a model learns: live from a daemon, or a report as one file."""

from streamnet.page.assets import Asset, build_view, load_assets, render_single_file

__all__ = ("Asset", "build_view", "load_assets", "render_single_file")
