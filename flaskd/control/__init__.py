"""The control plane: claims the instance's place, identifies callers, and turns messages into calls on the daemon."""
