"""Good messages, and what makes bad ones of them. Everything is drawn from a seed: a failure comes again."""

import random
from collections.abc import Sequence
from typing import Final

HARMLESS: Final = ("ping", "status", "describe", "requests", "workers", "incidents", "history")
"""Commands that change nothing, whoever gets through with them."""

REQUESTS: Final = (
    *(b'{"jsonrpc":"2.0","id":1,"method":"%s"}' % name.encode() for name in HARMLESS),
    b'{"jsonrpc":"2.0","id":"a","method":"incidents","params":{"incident":1}}',
    b'{"jsonrpc":"2.0","id":null,"method":"history","params":{"limit":5}}',
    b'{"jsonrpc":"2.0","method":"ping","params":{}}',
    b'{"jsonrpc":"2.0","id":2,"method":"events","params":{"types":["state"]}}',
    b'[{"jsonrpc":"2.0","id":3,"method":"ping"}]',
)

REPLIES: Final = (
    b'{"jsonrpc":"2.0","id":1,"result":{"name":"shop","pid":1,"state":"running","protocol":"1.0"}}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"name":"failed","hint":"x"}}}',
    b'{"jsonrpc":"2.0","method":"event","params":{"id":1,"event":{"type":"state","at":1.5}}}',
)

PROBES: Final = (
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /readyz?x=1 HTTP/1.0\r\n\r\n",
    b"POST /readyz HTTP/1.1\r\nContent-Length: 2\r\n\r\nok",
)

TOKENS: Final = (
    b"\x00",
    b"\n",
    b"\r\n\r\n",
    b'"',
    b"\\",
    b"\\ud800",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"{",
    b"[" * 400,
    b'{"a":' * 200,
    b"}",
    b"null",
    b"NaN",
    b"-1e999",
    b"9" * 400,
    b"1e-9999999",
    b'"id":1,"id":2,',
    b'"params":[],',
    b'"jsonrpc":"1.0",',
    b"A" * 3000,
    b"\xe2\x80\xa8",
)
"""What parsers trip over: ends, encodings, depth, numbers, keys that come twice."""


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Make something else of one of `seeds`: one to six cuts, copies, flips and insertions."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        match rng.randrange(6):
            case 0:
                del data[at : at + rng.randint(1, 20)]
            case 1:
                data[at:at] = rng.choice(TOKENS)
            case 2:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 3:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
            case 4:
                other = rng.choice(seeds)
                data[at:] = other[rng.randint(0, len(other)) :]
            case _:
                data[at:at] = data[max(0, at - rng.randint(1, 40)) : at]
    return bytes(data)


def frame(body: bytes, *, flags: int = 0) -> bytes:
    """Write a ZMTP 3 frame (RFC 23): flags, a size of one byte or eight, the body."""
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + len(body).to_bytes(8, "big") + body


GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY: Final = frame(b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00", flags=4)
PING: Final = frame(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')

STREAMS: Final = (
    GREETING + READY,
    GREETING[:11] + b"\x00" + GREETING[12:] + READY,
    GREETING.replace(b"NULL\0", b"CURVE", 1) + READY,
    GREETING.replace(b"NULL\0", b"PLAIN", 1) + READY,
    GREETING + READY + PING,  # a client has to wait for the other's READY
    b"\xff\0\0\0\0\0\0\0\x01\x7f\x01\x05" + b"\x00\x00" + PING,  # ZMTP 2
    b"\x01\x00" + PING,  # ZMTP 1
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
)
"""How a peer's stream begins: each version of the greeting, mechanisms that are not served, another protocol."""

FRAMES: Final = (
    PING,
    frame(b"", flags=1) + PING,
    frame(b"x" * 300, flags=1) * 3 + PING,
    frame(b"\x04PING\x00\x10context", flags=4) + PING,
    frame(b"\x09SUBSCRIBEx", flags=4) + frame(b"\x05ERROR\x03bad", flags=4),
    READY,
)
"""What a peer sends after the handshake: messages of one frame and of many, commands."""
