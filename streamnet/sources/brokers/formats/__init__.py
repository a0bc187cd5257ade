"""Formats of messages: how the bytes of one become a sample."""
