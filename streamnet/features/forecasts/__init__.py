"""Forecasts from the known targets alone: their history, its season, and linear regressions."""
