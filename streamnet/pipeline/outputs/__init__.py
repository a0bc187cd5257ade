"""What a run leaves while it learns: predictions, dead letters, champions."""
