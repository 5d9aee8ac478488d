"""`flaskd_ctl web`: what an instance does, live in a browser. Needs the extra `web` (Starlette and Uvicorn).

The client serves the page, on a loopback port of its own; the daemon knows nothing of it. `guard` decides which requests are
the user's own, `gate` applies that to each of them, `room` shares one `Watch` of an instance among all who look, `stream`
sends what it sees, `api` carries out calls, `files` has the page, and `server` listens.
"""
