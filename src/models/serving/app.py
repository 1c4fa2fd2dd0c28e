"""The addresses of the service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel

from src.models.serving.engine import Answer, Engine
from src.models.serving.intake import Refusal
from src.models.serving.service import Service

PAGE = Path(__file__).with_name("page.html")
POLICY = (
    "default-src 'none'; connect-src 'self'; img-src blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
IMAGE_BODY = {
    "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}
"""What the schema says of the body of /predict."""
RETRY_AFTER_S = 1
DIGITS = 6


class Prediction(BaseModel):
    """What the service says of an image: a class, its probability, how sure that is, and each class's probability.

    `confidence` is calibrated where the checkpoint has a temperature; `sure` says whether the model answers at all at
    the risk that its run was asked for (`predict.target_risk`), null where no threshold is known.
    """

    pred: str
    prob: float
    confidence: float
    sure: bool | None
    probs: dict[str, float]
    checkpoint: str


class About(BaseModel):
    """The model that answers."""

    run: str
    checkpoint: str
    backbone: str
    classes: list[str]
    img_size: int
    threshold: float | None


def create_app(service: Service, *, beside: Callable[[], Coroutine[Any, Any, None]] | None = None) -> FastAPI:
    """The application; `beside` runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            task = asyncio.create_task(beside()) if beside else None
            yield
            if task:
                task.cancel()

    # the usual page of documentation is fetched from elsewhere; the schema is at /openapi.json
    app = FastAPI(title="Image classification", lifespan=lifespan, docs_url=None, redoc_url=None)
    _add_answers(app, service)
    _add_state(app, service)
    return app


def _add_answers(app: FastAPI, service: Service) -> None:
    """What people and programs ask for."""

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> JSONResponse:
        headers = {"Connection": "close"} if refusal.closes else {}
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return JSONResponse({"detail": refusal.reason}, refusal.status, headers)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers={"Content-Security-Policy": POLICY})

    @app.post("/predict", openapi_extra=IMAGE_BODY)
    async def predict(request: Request) -> Prediction:
        """The class of the image in the body."""
        return prediction(*await service.answer(request))

    @app.get("/model")
    async def model() -> About:
        """The model that answers."""
        return about(service.engine)


def _add_state(app: FastAPI, service: Service) -> None:
    """What a supervisor asks for."""

    # all of them are `async`: others share forty threads, and where those wait for a disk nobody is told anything
    @app.get("/healthz")
    async def healthy() -> dict[str, str]:
        """The process is alive."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def ready() -> JSONResponse:
        """Whether images may be sent: 503 with the reason where the run folder lost or changed its weights."""
        if (reason := await service.ready()) is not None:
            return JSONResponse({"detail": reason}, HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counters, as Prometheus reads them."""
        service.figures.log_failures.set(service.requests.failures)
        return Response(service.figures.text(), media_type="text/plain; version=0.0.4")


def prediction(engine: Engine, answer: Answer) -> Prediction:
    """The answer in the words of the service."""
    names = engine.trained.class_names
    prob = float(answer.probs.max())
    return Prediction(
        pred=names[answer.pred],
        prob=round(prob, DIGITS),
        confidence=round(answer.confidence, DIGITS),
        sure=None if engine.threshold is None else prob >= engine.threshold,
        probs={name: round(float(value), DIGITS) for name, value in zip(names, answer.probs, strict=True)},
        checkpoint=engine.sha256,
    )


def about(engine: Engine) -> About:
    """What there is to know of the model."""
    facts = engine.trained.facts
    return About(
        run=engine.folder.path.as_posix(),
        checkpoint=engine.sha256,
        backbone=facts.model["name"],
        classes=facts.class_names,
        img_size=engine.trained.preprocess.img_size,
        threshold=engine.threshold,
    )
