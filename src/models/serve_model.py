"""Answer with predictions over HTTP: a page for people at the address, POST an image to /predict for programs.

usage: python -m src.models.serve_model [<run>] [section.key=value ...]
       make serve ARGS="<run> serve.port=9000"

A run is what compare takes. Without one it is the champion, and each new champion after it as soon as it is promoted;
where there is none it is the pipeline's run. Addresses: /predict, /model, /healthz, /readyz, /metrics, /openapi.json.
What was answered is kept in data/requests, without the images, for monitor. Settings are the section `serve`.
"""

import logging
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from src.arguments import run_on_runs
from src.champion import reigning
from src.config import Config
from src.layout import CHAMPION, CHAMPION_FILE, REQUESTS_DIR, RunFolder
from src.runs import in_service

if TYPE_CHECKING:
    import uvicorn

    from src.models.serving.following import Loader
    from src.models.serving.service import Service

log = logging.getLogger(__name__)

MIB = 2**20


def serve_model(cfg: Config, words: list[str]) -> None:
    """Nothing, once a signal has ended the service and what it had taken in is answered.

    Raises:
        ValueError: several runs, no usable checkpoint, or the port is taken.
    """
    follows = words == [CHAMPION] or (not words and CHAMPION_FILE.exists())
    folder = in_service(words)
    with listening(cfg.serve.host, cfg.serve.port) as place:
        service, load = prepared(cfg, None if follows else folder)
        log.info("serving %s%s", folder.path, ", and each new champion after it" if follows else "")
        host, port = place.getsockname()[:2]
        log.info("listening on http://%s:%d (Ctrl-C ends it)", f"[{host}]" if ":" in host else host, port)
        with suppress(KeyboardInterrupt):
            server_of(service, load if follows else None).run(sockets=[place])
        log.info("ended")


def listening(host: str, port: int) -> socket.socket:
    """A socket at the address, before anything heavy is loaded.

    Raises:
        ValueError: it cannot be had; the message says why.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        # Python repeats the address behind the reason
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ValueError(
            f"cannot listen on {host}:{port} ({reason}); give another place: serve.port=<number, 0 for any>, serve.host"
        ) from None


def prepared(cfg: Config, folder: RunFolder | None) -> "tuple[Service, Loader]":
    """The service of a run, of the champion where it is None, and what makes an engine of another run."""
    from src.models import runtime
    from src.models.serving.engine import load_engine
    from src.models.serving.keeping import Keeper
    from src.models.serving.service import Service
    from src.request_log import RequestLog

    own = cfg.serve
    run, which = reigning().located() if folder is None else (folder, cfg.predict.checkpoint)
    # a pass takes as many images as have come
    place = runtime.start(cfg.run, "fp32", equal_batches=False)
    load = partial(load_engine, place=place, cfg=own)
    requests = RequestLog(REQUESTS_DIR, most_bytes=int(own.log_mib * MIB), keep=own.log_files)
    return Service(engine=load(run, which), cfg=own, requests=Keeper(requests)), load


def server_of(service: "Service", load: "Loader | None") -> "uvicorn.Server":
    """What answers at a socket until a signal comes, and follows the champion where `load` is given."""
    import uvicorn

    from src.models.serving.app import create_app
    from src.models.serving.following import Following

    app = create_app(service, beside=None if load is None else Following(service, load).run)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # it counts the connection that it looks at
        limit_concurrency=service.cfg.max_connections + 1,
        timeout_graceful_shutdown=service.cfg.drain_s,
    )
    return uvicorn.Server(settings)


if __name__ == "__main__":
    run_on_runs(serve_model, about=__doc__ or "")
