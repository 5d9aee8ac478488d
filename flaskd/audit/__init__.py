"""The audit log, and the note of the last stop."""
