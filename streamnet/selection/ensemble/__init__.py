"""Ensembles: the outputs of all candidates combined by mixers that learn online."""
