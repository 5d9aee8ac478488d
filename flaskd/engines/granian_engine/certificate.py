"""Checks whether rustls, granian's TLS library, can use a certificate: one that it cannot use would abort the process.

OpenSSL has loaded it, so it is well-formed and its key fits. Beyond that, rustls 0.23 with ring 0.17 wants X.509 version 3 in a
block labelled CERTIFICATE, and one of these keys: RSA of 2048 to 4096 bits with a public exponent from 65537, ECDSA on P-256
or P-384, Ed25519. They are read from the certificate (DER, X.690 section 8.1; its fields, RFC 5280 section 4.1).
"""

import base64
import re
from typing import Final

from flaskd.errors import ConfigError

BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
VERSION: Final = 0xA0  # the tag of the field `version`, absent in version 1
RSA: Final = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1
EC: Final = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1
ED25519: Final = bytes.fromhex("2b6570")  # 1.3.101.112
CURVES: Final = {bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2b81040022")}  # P-256 and P-384
RSA_BITS: Final = range(2048, 4097)
LEAST_EXPONENT: Final = 65537


def check_certificate(path: str) -> None:
    """Raise ConfigError if rustls cannot use the first certificate in the PEM file `path`."""
    with open(path, "rb") as file:
        block = BLOCK.search(file.read())
    found = (
        "no block labelled CERTIFICATE is in it" if block is None else _refusal(base64.b64decode(block[1]))
    )
    if found:
        hint = "use RSA of 2048 to 4096 bits, EC on P-256 or P-384, or Ed25519, in X.509 version 3; or --engine werkzeug"
        raise ConfigError(f"the granian engine cannot use {path} for TLS: {found}", hint=hint)


def _refusal(der: bytes) -> str | None:
    """Return why rustls cannot use a certificate, None if it can."""
    ((_, certificate),) = _fields(der)
    (_, signed), *_ = _fields(certificate)
    tags, values = zip(*_fields(signed), strict=True)
    if tags[0] != VERSION:
        return "it is X.509 version 1"
    (_, algorithm), (_, bits) = _fields(values[6])  # subjectPublicKeyInfo
    (_, kind), *parameters = _fields(algorithm)
    if kind == ED25519 or (kind == EC and parameters[0][1] in CURVES):
        return None
    if kind != RSA:
        return f"its key is {'on another curve' if kind == EC else 'of another kind'}"
    ((_, key),) = _fields(bits[1:])  # its first byte counts unused bits
    (_, modulus), (_, exponent) = _fields(key)
    size = int.from_bytes(modulus).bit_length()
    if size not in RSA_BITS:
        return f"its key is RSA of {size} bits"
    return None if int.from_bytes(exponent) >= LEAST_EXPONENT else "its RSA key has a small exponent"


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    """Split a constructed value into its fields: tag and content."""
    fields = []
    while der:
        begin, length = 2, der[1]
        if length & 0x80:  # the length of the length
            begin += length & 0x7F
            length = int.from_bytes(der[2:begin])
        fields.append((der[0], der[begin : begin + length]))
        der = der[begin + length :]
    return fields
