"""What an instance does, live: the part that `flaskd_ctl top` and `flaskd_ctl web` share.

`source` asks an instance and follows its streams, `seen` keeps what is known of it, `watch` keeps that true, and `changes`
makes the changes that can be asked for. Nothing here knows of a terminal or a page.
"""
