"""A pytest plugin: fixtures that serve an application for a test.

pytest imports the plugin in each run of each project that has flaskd installed. So nothing here imports flaskd before a fixture
is used: it costs nothing, and does not come before the measurement of coverage.
"""

from pytest_flaskd.types import StartDaemon, StartServer

__all__ = ["StartDaemon", "StartServer"]
