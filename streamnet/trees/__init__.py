"""Targets predicted by boosted trees, which are grown anew as samples come."""
