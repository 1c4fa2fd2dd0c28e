"""A trained network as teacher: the loss also asks for its probabilities (Hinton et al., 2015)."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.config_training import DistillationConfig
from src.features.inputs import model_input
from src.features.preprocess import Preprocess
from src.layout import RunFolder
from src.models import checkpoint
from src.models.checkpoint import TrainedModel

log = logging.getLogger(__name__)

Logits = Float[Tensor, "batch classes"]
Images = Float[Tensor, "batch 3 size size"]

PACKING = ("size", "resize", "interpolation")


@runtime_checkable
class Teaching(Protocol):
    """What a teacher makes of a loss; `digest` names its weights, empty where there is none."""

    @property
    def digest(self) -> str:
        """The sha256 of its weights."""

    def taught(self, loss: Float[Tensor, ""], logits: Logits, images: Images) -> Float[Tensor, ""]:
        """The loss to train by, from that of the labels, the student's logits and the images as augmented."""


class NoTeacher:
    """The neutral one: the loss of the labels."""

    digest = ""

    def taught(self, loss: Float[Tensor, ""], logits: Logits, images: Images) -> Float[Tensor, ""]:
        """The loss itself."""
        return loss


@dataclass(frozen=True)
class Teacher:
    """A network that is not trained, and sees what its student sees, each by its own way from image to input."""

    model: nn.Module
    preprocess: Preprocess
    weight: float
    temperature: float
    digest: str

    def taught(self, loss: Float[Tensor, ""], logits: Logits, images: Images) -> Float[Tensor, ""]:
        """A share `weight` of the divergence from the teacher, the rest of the loss of the labels."""
        with torch.no_grad():
            asked = self.model(model_input(images, self.preprocess))
        return (1 - self.weight) * loss + self.weight * divergence(logits, asked, temperature=self.temperature)


def divergence(logits: Logits, asked: Logits, *, temperature: float) -> Float[Tensor, ""]:
    """Mean KL divergence in nats of softened probabilities from those asked for, times the temperature squared.

    The factor keeps its gradient as large as that of the labels, whatever the temperature.
    """
    own, wanted = (F.log_softmax(values.float() / temperature, dim=1) for values in (logits, asked))
    return F.kl_div(own, wanted, reduction="batchmean", log_target=True) * temperature**2


def build_teaching(
    cfg: DistillationConfig | None, *, class_names: Sequence[str], preprocess: Preprocess, device: torch.device
) -> Teaching:
    """What `train.distillation` asks for, for a student of these classes and this way from image to input.

    Raises:
        ValueError: no checkpoint there, or that of a network of other classes or of images packed in another way.
    """
    if cfg is None:
        return NoTeacher()
    folder = RunFolder(Path(cfg.teacher)).checkpoint("best")
    trained = checkpoint.load(folder, device)
    check_same(trained, class_names=class_names, preprocess=preprocess, teacher=cfg.teacher)
    log.info(
        "taught by %s (%s at %d px, %s) with weight %g at temperature %g",
        *(folder, trained.facts.model["name"], trained.preprocess.img_size, _told(trained.facts.metrics)),
        *(cfg.weight, cfg.temperature),
    )
    model = trained.model.requires_grad_(False)
    return Teacher(model, trained.preprocess, cfg.weight, cfg.temperature, trained.facts.sha256)


def check_same(trained: TrainedModel, *, class_names: Sequence[str], preprocess: Preprocess, teacher: str) -> None:
    """Nothing, where the teacher answers for the student's classes and its images can be had from the student's.

    Raises:
        ValueError: it does not, or they cannot.
    """
    key = f"train.distillation.teacher={teacher}"
    if trained.class_names != list(class_names):
        raise ValueError(
            f"{key} knows the classes {', '.join(trained.class_names)}, and there are {', '.join(class_names)} here; "
            "take a teacher that was trained on these classes"
        )
    theirs, ours = asdict(trained.preprocess), asdict(preprocess)
    differing = [f"features.{name}={theirs[name]}, here {ours[name]}" for name in PACKING if theirs[name] != ours[name]]
    if differing:
        raise ValueError(
            f"{key} was trained on images packed in another way ({'; '.join(differing)}); pack the data as it was, or "
            "take another teacher"
        )


def _told(metrics: dict[str, float]) -> str:
    return f"val/acc {metrics['val/acc']:.4f}" if "val/acc" in metrics else "not validated"
