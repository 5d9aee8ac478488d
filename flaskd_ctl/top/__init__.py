"""`flaskd_ctl top`: what an instance does, live in a terminal. Needs the extra `top` (Textual).

`panels` makes rows of what `flaskd_ctl.live` knows of an instance, `details` asks what is behind a row, and `app` shows both;
the first two know nothing of a terminal.
"""
