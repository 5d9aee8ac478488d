"""Settings of gunicorn for TLS, protocols and what the newest versions have beside HTTP."""

from typing import Final

from flaskd.migrate.option import Option, Takes, elsewhere, missing, same, to, unneeded

STRICT: Final = "flaskd refuses what RFC 9112 forbids, because a proxy may read it in another way"
HTTP2: Final = "flaskd speaks HTTP/1.1: a proxy in front speaks HTTP/2 with the clients"
ASGI: Final = "flaskd serves WSGI applications only"
DIRTY: Final = "run a task queue (Celery, RQ) for long work"
CONTROL: Final = "flaskd always has a control socket, which only its owner can use; `flaskd_ctl` finds it"

TLS: Final = (
    *(
        Option(
            name,
            flags,
            default=default,
            takes=takes,
            here=missing("let the proxy speak plain HTTP to flaskd"),
        )
        for name, flags, default, takes in (
            ("proxy_protocol", ("--proxy-protocol",), "off", Takes.PERHAPS),
            ("proxy_allow_ips", ("--proxy-allow-from",), "127.0.0.1,::1", Takes.VALUE),
            ("protocol", ("--protocol",), "http", Takes.VALUE),
            ("uwsgi_allow_ips", ("--uwsgi-allow-from",), "127.0.0.1,::1", Takes.VALUE),
        )
    ),
    Option("keyfile", ("--keyfile",), here=to("tls_key")),
    Option("certfile", ("--certfile",), here=to("tls_cert")),
    Option("ssl_version", ("--ssl-version",), here=unneeded("TLS 1.2 and newer")),
    Option(
        "cert_reqs",
        ("--cert-reqs",),
        default=0,
        here=missing("flaskd does not ask clients for certificates: a proxy that does has to terminate TLS"),
    ),
    Option("ca_certs", ("--ca-certs",), here=missing("flaskd does not ask clients for certificates")),
    Option(
        "suppress_ragged_eofs",
        ("--suppress-ragged-eofs",),
        default=True,
        takes=Takes.NOTHING,
        here=unneeded("always so"),
    ),
    Option(
        "do_handshake_on_connect",
        ("--do-handshake-on-connect",),
        default=False,
        takes=Takes.NOTHING,
        here=unneeded("a handshake never holds up others, and has a time limit"),
    ),
    Option("ciphers", ("--ciphers",), here=missing("those of the TLS library for TLS 1.2 and newer")),
    Option("http_protocols", ("--http-protocols",), default="h1", here=missing(HTTP2)),
    Option("http2_cleartext", ("--http2-cleartext",), default="off", here=missing(HTTP2)),
    *(
        Option(name, (f"--{name.replace('_', '-')}",), default=default, here=missing(HTTP2))
        for name, default in (
            ("http2_max_concurrent_streams", 100),
            ("http2_initial_window_size", 65_535),
            ("http2_max_frame_size", 16_384),
            ("http2_max_header_list_size", 65_536),
        )
    ),
)

OTHERS: Final = (
    Option(
        "raw_paste_global_conf",
        ("--paste-global",),
        default=[],
        takes=Takes.VALUES,
        here=missing("write a module that makes the application, and name that"),
    ),
    *(
        Option(
            name, (f"--{name.replace('_', '-')}",), default=False, takes=Takes.NOTHING, here=missing(STRICT)
        )
        for name in (
            "permit_obsolete_folding",
            "strip_header_spaces",
            "permit_unconventional_http_method",
            "permit_unconventional_http_version",
            "casefold_http_method",
        )
    ),
    Option(
        "forwarder_headers",
        ("--forwarder-headers",),
        default="SCRIPT_NAME,PATH_INFO",
        here=elsewhere("X-Forwarded-Prefix, with `trusted_proxies`, sets SCRIPT_NAME"),
    ),
    Option(
        "header_map",
        ("--header-map",),
        default="drop",
        here=missing("a header with an underscore in its name is dropped, as by default"),
    ),
    *(
        Option(name, (f"--{name.replace('_', '-')}",), default=default, here=missing(ASGI))
        for name, default in (
            ("asgi_loop", "auto"),
            ("asgi_lifespan", "auto"),
            ("asgi_disconnect_grace_period", 3),
            ("websocket_max_message_size", 16_777_216),
        )
    ),
    Option(
        "http_parser", ("--http-parser",), default="auto", here=elsewhere("`engine` chooses the HTTP engine")
    ),
    Option("root_path", ("--root-path",), default="", here=missing(ASGI)),
    Option("dirty_apps", ("--dirty-app",), default=[], takes=Takes.VALUES, here=missing(DIRTY)),
    *(
        Option(name, (f"--{name.replace('_', '-')}",), default=default, here=missing(DIRTY))
        for name, default in (
            ("dirty_workers", 0),
            ("dirty_timeout", 300),
            ("dirty_threads", 1),
            ("dirty_graceful_timeout", 30),
        )
    ),
    Option("control_socket", ("--control-socket",), here=unneeded(CONTROL)),
    Option("control_socket_mode", ("--control-socket-mode",), default=0o600, here=unneeded(CONTROL)),
    Option(
        "control_socket_disable",
        ("--no-control-socket",),
        default=False,
        takes=Takes.NOTHING,
        here=to("control", "`control = false`", convert=lambda value, _: same("control")(not value, _)),
    ),
)
