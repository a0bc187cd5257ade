"""Clients of the daemon's HTTP API, blocking and async."""
