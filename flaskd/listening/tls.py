"""Load the certificate and key for HTTPS, before anything is bound."""

import ssl
from typing import NamedTuple

from flaskd.errors import ConfigError


class Tls(NamedTuple):
    """PEM files, and their TLS context (TLS 1.2 and newer, HTTP/1.1)."""

    certificate: str
    key: str
    context: ssl.SSLContext


def load(certificate: str, key: str) -> Tls:
    """Load both files. Raises ConfigError for a file that cannot be read, is invalid, or does not match the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise ConfigError(f"cannot read {path} for TLS: {error.strerror}") from None
    try:
        context.load_cert_chain(
            certificate, key, password=""
        )  # an encrypted key fails here; nobody is asked for a passphrase
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"the TLS key {key} does not match the certificate {certificate}") from None
        said = error.reason or str(error)
        hint = "both must be PEM files, the key without a passphrase"
        raise ConfigError(f"cannot use {certificate} with {key} for TLS: {said.lower()}", hint=hint) from None
    return Tls(certificate, key, context)
