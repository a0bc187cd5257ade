"""Hosting: models that run side by side, each supervised, journaled and published."""
