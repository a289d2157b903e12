"""Probes: one attempt each to find out whether a real server answers."""
