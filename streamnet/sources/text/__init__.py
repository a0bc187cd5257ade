"""Parsing of text: records, fields, dialects and what their first records tell."""
