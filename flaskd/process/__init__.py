"""The process itself: signals, forks, descriptors, children, and how it ends."""
