"""WsgiDAV, which shows a directory."""

import os

from wsgidav.wsgidav_app import WsgiDAVApp

app = WsgiDAVApp(
    {
        "provider_mapping": {"/": os.environ["APP_DIR"]},
        "simple_dc": {"user_mapping": {"*": True}},
        "logging": {"enable": False},
    }
)
