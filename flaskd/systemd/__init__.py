"""What flaskd is under systemd: what it tells the manager, the sockets that it is handed, the units that start it."""
