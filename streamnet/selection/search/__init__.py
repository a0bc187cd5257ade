"""Search over candidate settings: the default population and evolution."""
