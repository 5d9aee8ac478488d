"""How often tests do what they do many times: less often in the gate, in full with FLASKD_TEST_ALL (see .ci/nightly)."""

import os
from typing import Final

FULL: Final = bool(os.environ.get("FLASKD_TEST_ALL"))
