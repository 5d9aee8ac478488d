"""Figures of flaskd against its peers, measured side by side; `python -m benchmarks.all` runs them all."""
