"""The sections of the configuration for a model in use (serve_model, monitor); no stage reads them."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.schema import Count, Section, Share


@dataclass(frozen=True, kw_only=True)
class ServeConfig(Section):
    """The service that answers with predictions (`make serve`)."""

    host: Annotated[str, Field(description="address to listen on; 0.0.0.0: every network of this machine, unguarded")]
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on; 0: any that is free, told in the log")]
    batch_size: Annotated[Count, Field(description="most images in one forward pass: those that came meanwhile")]
    max_waiting: Annotated[Count, Field(description="images taken in at once; further ones are answered with 503")]
    max_connections: Annotated[Count, Field(description="open connections; further ones are answered with 503")]
    max_pixels: Annotated[Count, Field(description="images of more pixels are refused by their header")]
    max_mib: Annotated[float, Field(gt=0, description="largest request in MiB")]
    body_s: Annotated[float, Field(gt=0, description="time for an image to arrive whole, in s")]
    drain_s: Annotated[Count, Field(description="time for what was taken in to be answered after a signal, in s")]
    log_mib: Annotated[float, Field(gt=0, description="size at which the request log begins anew, in MiB")]
    log_files: Annotated[Count, Field(description="older request logs that are kept; the oldest one goes first")]


@dataclass(frozen=True, kw_only=True)
class MonitorConfig(Section):
    """What came to the service beside what the model was tested on (`make monitor`)."""

    last: Annotated[int | None, Field(ge=1, description="newest images that are looked at; null: all in the log")]
    least: Annotated[Count, Field(description="images below which nothing is told apart")]
    level: Annotated[
        Share, Field(description="chance of any alarm on images like those of the reference (Holm's correction)")
    ]
    min_distance: Annotated[
        Share, Field(description="least distance of two distributions that is told, however many images there are")
    ]
