"""Settings: every setting of a run, a model and the daemon, with its rule and its default.

Nothing is imported here, so that the core can use a setting without pydantic.
"""
