"""Numbers predicted from the last target of samples with the same value of a column."""
