"""Finding instances: running, stopped, and the targets file."""
