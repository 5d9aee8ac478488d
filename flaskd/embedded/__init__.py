"""flaskd inside a program: `Server`, and `run`."""
