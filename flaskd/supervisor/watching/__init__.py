"""Watching the workers: limits, memory, incidents, and the status report."""
