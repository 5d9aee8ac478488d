"""HTTPS for a daemon in tests: a certificate for 127.0.0.1, and who has signed it."""

import os
from pathlib import Path
from typing import NamedTuple

import trustme


class Certified(NamedTuple):
    """Files: what the daemon is told (`args`), and what its clients trust (`authority`)."""

    args: list[str]
    authority: str


def certified(directory: Path) -> Certified:
    """Write a certificate, its key and its authority into `directory`."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, trusted = (directory / name for name in ("cert.pem", "key.pem", "authority.pem"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(trusted)
    return Certified(["--tls-cert", os.fspath(certificate), "--tls-key", os.fspath(key)], os.fspath(trusted))
