"""The audit log, and the record of the last stop."""
