"""Reports built from a learner: the final report of a run and its live progress."""
