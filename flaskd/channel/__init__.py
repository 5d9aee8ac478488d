"""The private channel between a supervisor and a worker."""
