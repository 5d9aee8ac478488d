"""Settings: their declarations, the sources of their values, their checks, and what they name."""
