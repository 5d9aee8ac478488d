"""Find instances: running, stopped, and those of the configuration file."""
