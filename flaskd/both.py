"""What the supervisor and each worker import: `flaskd run` imports it first, then forks the first process.

A forked process shares the memory of what was imported before (docs/decisions/0193). Nothing here that only one of them
needs, and no Flask: the supervisor never imports it.
"""

import ctypes  # noqa: F401 - as the next ones, for its memory
import difflib  # noqa: F401
import ssl  # noqa: F401

import click  # noqa: F401

import flaskd.channel.messages
import flaskd.installed
import flaskd.ledger.access_log
import flaskd.ledger.errors
import flaskd.ledger.shared_memory
import flaskd.ledger.slowest
import flaskd.listening.listeners
import flaskd.logs.handler
import flaskd.metrics.memory
import flaskd.metrics.saturation
import flaskd.process.capacity
import flaskd.process.ending
import flaskd.process.load_table
import flaskd.process.name
import flaskd.process.profiles
import flaskd.process.resident
import flaskd.process.stacks
import flaskd.process.threads
import flaskd.release.code
import flaskd.shutdown.owner
import flaskd.tuning.levels  # noqa: F401
import flaskd_ctl.contract.commands
import flaskd_ctl.contract.conversation
import flaskd_ctl.errors  # noqa: F401
