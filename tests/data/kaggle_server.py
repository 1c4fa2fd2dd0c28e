"""As much of Kaggle as its client asks for, on this machine: the call of its API, the redirect, the file."""

import hashlib
import json
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, repeat

KEY = "0123456789abcdef-the-key"
SIGNATURE = "X-Goog-Signature=a-secret-signature"
DATASET_CALL = "/api/v1/datasets.DatasetApiService/DownloadDataset"
COMPETITION_CALL = "/api/v1/competitions.CompetitionApiService/DownloadDataFiles"
INTROSPECTION = "/api/v1/security.OAuthService/IntrospectToken"

Answer = Callable[["Handler"], None]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str] = field(repr=False)
    body: dict


class KaggleServer(ThreadingHTTPServer):
    """Answers call after call with the next of `calls`, file after file with the next of `files`, the last for ever."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[Request] = []
        self.calls = forever(redirected)
        self.files = forever(whole)
        # set to let a held answer go on
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]

    def stop(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """Nothing: clients that hang up are what is tested."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KaggleServer

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        self.note(body)
        if self.path_alone() == INTROSPECTION:
            refused(404)(self)
        else:
            next(self.server.calls)(self)

    def do_GET(self):
        self.note({})
        next(self.server.files)(self)

    def note(self, body: dict) -> None:
        self.server.requests.append(Request(self.command, self.path_alone(), dict(self.headers), body))

    def path_alone(self) -> str:
        """The path without the host, which is there because the client takes this server for a proxy."""
        return "/" + self.path.split("://", 1)[-1].split("/", 1)[-1].split("?")[0]

    def send(self, status: int, content: bytes, kind: str, *, announced: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content) if announced is None else announced))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def gone(self) -> bool:
        """Whether the client has hung up, waited for at most a minute."""
        readable, _, _ = select.select([self.connection], [], [], 60)
        return bool(readable) and self.connection.recv(1) == b""

    def log_message(self, *_):
        """Nothing: the output belongs to the test."""


def forever(*answers: Answer):
    return chain(answers, repeat(answers[-1]))


def redirected(handler: Handler) -> None:
    handler.send(302, b"", "text/plain", Location=f"http://localhost/storage/archive.zip?{SIGNATURE}")


def refused(status: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        content = json.dumps({"code": status, "message": f"refused, {SIGNATURE}"}).encode()
        handler.send(status, content, "application/json", **headers)

    return answer


def parts(handler: Handler) -> tuple[int, bytes, dict[str, str]]:
    """Status, content and headers, from where the client asks on."""
    content = handler.server.content
    etag = f'"{hashlib.sha256(content).hexdigest()[:8]}"'
    headers = {"Accept_Ranges": "bytes", "ETag": etag}
    wanted = handler.headers.get("Range")
    if wanted is None or handler.headers.get("If-Range", etag) != etag:
        return 200, content, headers
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    return 206, content[start:], headers | {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}


def whole(handler: Handler) -> None:
    status, content, headers = parts(handler)
    handler.send(status, content, "application/zip", **headers)


def cut(handler: Handler) -> None:
    """Half of what is left, then the connection closes."""
    status, content, headers = parts(handler)
    handler.send(status, content[: len(content) // 2], "application/zip", announced=len(content), **headers)
    handler.close_connection = True


def cut_without_names(handler: Handler) -> None:
    """The same from a server that cannot go on where it stopped."""
    content = handler.server.content
    handler.send(200, content[: len(content) // 2], "application/zip", announced=len(content))
    handler.close_connection = True


def shortened(handler: Handler) -> None:
    """Announces and sends less than there is."""
    handler.send(200, handler.server.content[:-30], "application/zip")


def stalled(handler: Handler) -> None:
    """Half of what is left, then nothing until the test lets go or the client hangs up."""
    status, content, headers = parts(handler)
    handler.send(status, content[: len(content) // 2], "application/zip", announced=len(content), **headers)
    if handler.gone():
        handler.server.released.set()
    handler.close_connection = True


def silent(handler: Handler) -> None:
    """No answer at all, until the client hangs up."""
    if handler.gone():
        handler.server.released.set()
    handler.close_connection = True


def page(handler: Handler) -> None:
    handler.send(200, b"<!DOCTYPE html><html><body>Please log in</body></html>", "text/html")
