"""Parsing of text: records, fields, dialects and what is inferred from first records."""
