"""State of a run on disk: checkpoints, exact resume, inspection and rollback."""
