"""Targets predicted by linear weights and by products of vectors, one for each category and bin."""
