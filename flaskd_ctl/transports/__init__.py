"""The ways to reach an instance: one module for each."""
