"""What `flaskd dev` adds to a supervisor: it watches files and reloads."""
