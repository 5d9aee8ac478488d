"""Listening sockets: bind, inherit, turn away, TLS."""
