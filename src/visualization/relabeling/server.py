"""The relabel page over HTTP: on the loopback interface, for the one person who has the address.

What comes in is not trusted: any page in the same browser can send requests here. The address holds a secret of this
run, the host must be this machine's own name for itself (else a foreign name that resolves to it would do), and no
path is taken from a request: images are looked up by id, items and pictures by number.
"""

import json
import logging
import secrets
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, TypeGuard
from urllib.parse import parse_qs, urlsplit

from src.visualization.relabeling.page import page, progress
from src.visualization.relabeling.pictures import Pictures
from src.visualization.relabeling.session import Session

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
OWN_NAMES = ("127.0.0.1", "localhost")
LARGEST_BODY = 64 * 2**10
LARGEST_DRAINED = 2**20
STALL_S = 10

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src {allowed}; script-src {allowed}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Refusal(Exception):  # noqa: N818 - an answer, not a fault of ours
    """A request that is not served, with the status and the sentence of the answer."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class RelabelServer(ThreadingHTTPServer):
    """Serves one session under an address that only its starter knows."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, session: Session, pictures: Pictures, *, port: int) -> None:
        """Listen at the port, or at a free one where it is 0.

        Raises:
            ValueError: the port is taken or may not be used.
        """
        self.session = session
        self.pictures = pictures
        self.token = secrets.token_urlsafe(16)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(f"port {port} cannot be used ({error}); give another, or none for a free one") from None

    def server_bind(self) -> None:
        """Bind without looking up a name of the host, which takes seconds on some machines."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log a fault of ours; a browser that went away is none."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            log.exception("a request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    server: RelabelServer
    server_version = "relabel"
    sys_version = ""
    timeout = STALL_S

    def do_GET(self) -> None:
        self._answer({"": self._page, "image": self._image})

    def do_POST(self) -> None:
        self._answer({"decide": self._decide, "undo": self._undo})

    def log_message(self, format: str, *args: Any) -> None:
        # without the address, whose token is a secret
        log.debug("%s answered", self.command)

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        """Serve the request, or say why not; the file of overrides may be at fault, which a person can mend."""
        try:
            self._routed(routes)()
        except Refusal as refusal:
            self._send_json({"error": str(refusal)}, refusal.status)
        except ConnectionError:
            raise
        except (ValueError, OSError) as error:
            log.warning("%s", error)
            self._send_json({"error": str(error)}, HTTPStatus.CONFLICT)

    def _routed(self, routes: dict[str, Callable[[], None]]) -> Callable[[], None]:
        """The function for the request's path.

        Raises:
            Refusal: a foreign host or origin, a wrong token, or no such path.
        """
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or _hostname(hosts[0]) not in OWN_NAMES:
            raise Refusal(HTTPStatus.FORBIDDEN, f"this host is not served here; allowed: {', '.join(OWN_NAMES)}")
        if self.headers.get("Origin") not in (None, f"http://{hosts[0]}"):
            raise Refusal(HTTPStatus.FORBIDDEN, "requests from other pages are not served")
        token, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise Refusal(HTTPStatus.FORBIDDEN, "open the whole address that make relabel printed")
        if name not in routes:
            raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here")
        return routes[name]

    def _page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        html = page(self.server.session, nonce=nonce).encode("utf-8")
        self._send(html, "text/html; charset=utf-8", headers={"Content-Security-Policy": _policy(f"'nonce-{nonce}'")})

    def _image(self) -> None:
        ids = parse_qs(urlsplit(self.path).query, errors="strict").get("id", [])
        if len(ids) != 1 or ids[0] not in self.server.pictures:
            raise Refusal(HTTPStatus.NOT_FOUND, "no image with this id is shown here")
        content, kind = self.server.pictures.encoded(ids[0])
        self._send(content, kind, headers={"Cache-Control": "private, max-age=3600"})

    def _decide(self) -> None:
        content = self._json_body()
        number, label, pictures = content.get("item"), content.get("label"), content.get("pictures")
        if type(number) is not int or not isinstance(label, str | None) or not _are_numbers(pictures):
            raise Refusal(HTTPStatus.BAD_REQUEST, 'send {"item": number, "label": name or null, "pictures": [numbers]}')
        self.server.session.decide(number, label, pictures)
        self._send_json(progress(self.server.session))

    def _undo(self) -> None:
        self._json_body()
        number = self.server.session.undo()
        self._send_json({"item": number, **progress(self.server.session)})

    def _json_body(self) -> dict[str, Any]:
        """The request's JSON object.

        Raises:
            Refusal: no length, too much, another type, or no such object.
        """
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length")
        if int(length) > LARGEST_BODY:
            # an answer gets lost where the connection is closed before what was sent is read
            self.rfile.read(min(int(length), LARGEST_DRAINED))
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes are taken")
        body = self.rfile.read(int(length))
        if self.headers.get_content_type() != "application/json":
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "send a JSON object")
        return content

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode("ascii"), "application/json", status=status)

    def _send(
        self,
        content: bytes,
        kind: str,
        *,
        status: HTTPStatus = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
    ) -> None:
        told = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": _policy("'none'"),
            **HEADERS,
            **(headers or {}),
        }
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _policy(allowed: str) -> str:
    """The content security policy; `allowed` is the source of styles and scripts."""
    return POLICY.format(allowed=allowed)


def _hostname(host: str) -> str | None:
    """The name in a Host header, without its port; the port may be another one where it is forwarded."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _are_numbers(content: Any) -> TypeGuard[list[int]]:
    return isinstance(content, list) and all(type(number) is int for number in content)
