"""What more than one engine uses."""
