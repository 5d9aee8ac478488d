"""The control plane: claims the instance's place, knows who is asking, and turns messages into calls on the daemon."""
