"""Serves the page and its calls to this machine alone."""

from __future__ import annotations

import json
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from tokmem.errors import DataError, TokMemError
from tokmem.log import logger
from tokmem.playground.session import Session
from tokmem.strict_json import parse_json

HOST = "127.0.0.1"
_MOST = 1 << 20  # bytes of a request
_OWN = {HOST, "localhost"}


def make_server(session: Session, port: int) -> ThreadingHTTPServer:
    """Opens a server of one session on the loopback.

    Args:
        session: answers the page's calls.
        port: 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    page = (files("tokmem.playground") / "page.html").read_bytes()

    class Handler(_Handler):
        pass

    Handler.session, Handler.page = session, page
    return ThreadingHTTPServer((HOST, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    """GET gives the page; POST /NAME runs a call. Pages of other sites are refused."""

    session: Session
    page: bytes

    def do_GET(self) -> None:
        """Gives the page."""
        if not self._own():
            self._send(HTTPStatus.FORBIDDEN, b"", "text/plain")
        elif self.path == "/":
            self._send(HTTPStatus.OK, self.page, "text/html; charset=utf-8")
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def do_POST(self) -> None:
        """Runs a call."""
        json_only = self.headers.get_content_type() == "application/json"  # which no form of a page sends
        if not self._own() or not json_only:
            self._reply(HTTPStatus.FORBIDDEN, {"got": "a request of another page"})
            return
        try:
            self._reply(HTTPStatus.OK, self.session.call(self.path.strip("/"), self._body()))
        except TokMemError as error:
            self._reply(HTTPStatus.BAD_REQUEST, {"got": error.got, "wanted": error.wanted, "do": error.do})
        except OSError as error:
            told = {"got": str(error), "wanted": "a folder that can be written", "do": "change its rights"}
            self._reply(HTTPStatus.BAD_REQUEST, told)

    def _own(self) -> bool:
        """Whether a request names this machine: another name may be a site's that points here."""
        addresses = [f"//{self.headers.get('Host', '')}", self.headers.get("Origin")]
        try:
            return _OWN.issuperset(urlsplit(one).hostname for one in addresses if one is not None)
        except ValueError:  # no address at all
            return False

    def _body(self) -> dict[str, Any]:
        try:
            size = int(self.headers.get("Content-Length", 0))
            if not 0 <= size <= _MOST:
                raise DataError(f"a request of {size} bytes", f"at most {_MOST}")
            body = parse_json(self.rfile.read(size) or b"{}")
        except ValueError as error:
            raise DataError("a request that is no JSON", "a JSON object") from error
        if not isinstance(body, dict):
            raise DataError(f"a request that is {type(body).__name__}", "a JSON object")
        return body

    def _reply(self, status: HTTPStatus, record: dict[str, Any]) -> None:
        self._send(status, json.dumps(record).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        with suppress(ConnectionError):  # the page was closed before it got its answer
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs a request for debugging."""
        logger.debug(format, *args)
