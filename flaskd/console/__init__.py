"""Output for people on stderr, with priorities for the journal."""
