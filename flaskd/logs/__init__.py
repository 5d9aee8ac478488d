"""Lines of the log: from `logging` to what the supervisor writes and keeps."""
