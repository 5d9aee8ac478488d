"""What is written for people on stderr, and its journal priorities."""
