"""Sources of message brokers: one base for all, a module for each, and formats of messages."""
