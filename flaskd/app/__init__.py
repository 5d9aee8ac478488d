"""Loading the application, and what is hung on it: hooks, the Flask extension, the body limit."""
