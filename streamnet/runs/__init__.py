"""Runs over files: built from settings, replayed, verified."""
