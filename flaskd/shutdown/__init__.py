"""The lifecycle and the phases of a stop."""
