"""What both sides share: commands, endpoints, message framing."""
