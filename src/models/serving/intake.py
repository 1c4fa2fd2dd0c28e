"""The body of a request: whole, in time and of a size that was agreed on, or refused with a reason."""

import asyncio

from starlette.requests import Request

MIB = 2**20
DROPPED = 8
"""So many times the largest request is read and dropped, so that who sent too much can still read the answer."""
FORM = "multipart/form-data"
"""Not `application/x-www-form-urlencoded`: curl calls whatever it sends by that name."""
HOW = "curl --data-binary @photo.jpg <address>/predict"


class Refusal(Exception):  # noqa: N818 - an answer to a person, not a fault of the service
    """Why a request is not answered with a prediction."""

    def __init__(self, status: int, kind: str, reason: str, *, closes: bool = False) -> None:
        """A refusal.

        Args:
            status: of HTTP.
            kind: one word, for the counters.
            reason: a sentence for the one who asked.
            closes: whether the connection ends with it, as there is more on it than will be read.
        """
        super().__init__(reason)
        self.status, self.kind, self.reason, self.closes = status, kind, reason, closes


async def read_body(request: Request, *, max_mib: float, seconds: float) -> bytes:
    """The bytes of the request.

    Raises:
        Refusal: they are a form, too many, none, or too slow.
        ClientDisconnect: the client has left.
    """
    most = int(max_mib * MIB)
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DROPPED * most:
                    raise _too_large(max_mib, closes=True)
                if size <= most:
                    parts.append(chunk)
    except TimeoutError:
        raise Refusal(408, "slow", f"the image did not arrive within {seconds:g} s", closes=True) from None
    if size > most:
        raise _too_large(max_mib, closes=False)
    if not size:
        raise Refusal(400, "empty", f"the request has no body: {HOW}")
    if request.headers.get("content-type", "").lower().startswith(FORM):
        raise Refusal(415, "form", f"send the image itself, not a form: {HOW}")
    return b"".join(parts)


def _too_large(max_mib: float, *, closes: bool) -> Refusal:
    return Refusal(413, "too_large", f"more than {max_mib:g} MiB (serve.max_mib)", closes=closes)
