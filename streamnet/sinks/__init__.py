"""Sinks: streams of brokers and web addresses that records are delivered to, in order."""
