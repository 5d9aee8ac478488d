"""Settings: their declarations, where their values come from, and what a reload may change."""
