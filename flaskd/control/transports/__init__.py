"""How control messages come in and go out: ZeroMQ, a plain stream, and event subscriptions."""
