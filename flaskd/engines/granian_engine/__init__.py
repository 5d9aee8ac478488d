"""The granian engine."""
