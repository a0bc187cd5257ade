"""The journal: an append-only log of all that a model receives, safe against crashes."""
