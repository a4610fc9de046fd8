"""The server of the page: which address it has, where it keeps what is uploaded, and that it asks nobody else."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vqkit.app.actions import Actions
from vqkit.app.guard import LOOPBACK, Guard
from vqkit.app.page import STYLE, build_page, theme
from vqkit.app.session import Session
from vqkit.core.optional_packages import optional_package
from vqkit.errors import ConfigError

_LARGEST_UPLOAD = "2gb"


def load_gradio() -> Any:
    """Gradio, set to report nothing to anybody. Raises `DataError` without the extra `app`."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return optional_package("gradio", "app", "The page in the browser is made")


def check_address(host: str, port: int) -> None:
    """Raise `ConfigError` for an address that this machine does not have, or a port that is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise ConfigError(f"There is no host '{host}'.", "Give an address of this machine, such as 127.0.0.1.") from None
    with socket.socket(family, kind, protocol) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(address)
        except OSError as error:
            raise ConfigError(
                f"The page cannot be served at {host}, port {port}: {os.strerror(error.errno or 0)}.",
                "Give another port with --port, or an address of this machine with --host.",
            ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host."""
    return host.lower() == "localhost" or host.startswith("127.") or host == "::1"


def serve(session: Session, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve the page until the process is interrupted; `ready` is called with its address when it can be opened.

    What is uploaded and downloaded lies in a directory of its own, which is removed at the end; no other files are given out.
    """
    gradio = load_gradio()
    guard = optional_package("starlette.middleware", "app", "The page in the browser is served").Middleware
    hosts = LOOPBACK | {host.lower()} if is_loopback(host) else None
    with tempfile.TemporaryDirectory(prefix="vqkit-app-") as place:
        os.environ["GRADIO_TEMP_DIR"] = place
        page = build_page(gradio, Actions(session, Path(place) / "results"))
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            inbrowser=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            allowed_paths=[],
            max_file_size=_LARGEST_UPLOAD,
            footer_links=[],
            theme=theme(gradio),
            css_paths=[STYLE],
            app_kwargs={"middleware": [guard(Guard, hosts=hosts)]},
        )
        try:
            ready(address)
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            page.close(verbose=False)
