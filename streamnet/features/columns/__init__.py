"""Transformers by kind of column: numbers, categories, times, texts, targets and lagged targets."""
