"""The control socket on TCP, behind CURVE."""
