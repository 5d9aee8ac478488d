"""What an operator changes while an instance runs: values of settings, and levels of loggers."""
