"""The HTTP engines, each behind the protocol in `protocol`."""
