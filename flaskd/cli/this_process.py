"""What a process needs to be able to serve with its settings."""

import os

from flaskd.console.say import say
from flaskd.control.access.grants import rules_of
from flaskd.control.access.policy import Caller, role_of
from flaskd.process import ending, inherited
from flaskd.settings.identity import identity_of
from flaskd.settings.schema import Settings
from flaskd_ctl.protocol import Actor


def check_process(settings: Settings) -> None:
    """Raise FlaskdError where a user or group is missing, or this process lacks permissions or descriptors."""
    rules = rules_of(settings, owner=os.geteuid())
    identity = identity_of(settings.worker_user)
    if identity is not None:
        actor = Actor(via="control", uid=identity.uid, gid=identity.gid)
        role = role_of(Caller(actor, frozenset(identity.groups)), rules)
        if role is not None:
            who = f"--worker-user {settings.worker_user}"
            say(f"flaskd: {who} has the role {role.value}: the application can operate its supervisor")
    ending.check_descriptors(settings.threads, inherited.raise_descriptor_limit())
