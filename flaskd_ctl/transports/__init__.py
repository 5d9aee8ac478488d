"""One module for each way to an instance."""
