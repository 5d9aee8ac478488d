"""Numbers: what each worker counts of its finished requests, added up over workers and over time."""
