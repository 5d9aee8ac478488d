"""`flaskd start`: run an instance without a terminal, and return when it serves."""
