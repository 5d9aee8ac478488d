"""Run a configuration file: `python -P -m flaskd.migrate.gunicorn FD DIRECTORY LOCATION`, in DIRECTORY.

The result goes to the descriptor FD as JSON. What the file prints goes to stderr.
"""

import json
import os
import sys

from flaskd.migrate.gunicorn.child import result_of

_, descriptor, directory, location = sys.argv
with open(int(descriptor), "w", encoding="utf-8") as result:
    os.set_inheritable(result.fileno(), False)
    json.dump(result_of(location, directory), result)
