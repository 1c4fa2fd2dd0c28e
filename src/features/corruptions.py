"""Light damage as cameras, weather and storage do it, at three strengths; after Hendrycks and Dietterich (2019)."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Corrupt = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]

FOG_CELLS = 4


def noise(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise whose deviation is this share of the range."""
    return image + rng.normal(0, 255 * level, image.shape)


def blur(image: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """A Gaussian blur whose radius is this share of the side."""
    picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(level * len(image)))
    return np.asarray(picture, dtype=np.float64)


def jpeg(image: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """What a JPEG file of this quality keeps."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="JPEG", quality=int(level))
    return np.asarray(Image.open(out).convert("RGB"), dtype=np.float64)


def brightness(image: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """Lighter by this share of the range."""
    return image + 255 * level


def contrast(image: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    """This share of the distances from the image's own mean."""
    mean = image.mean()
    return mean + level * (image - mean)


def fog(image: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """A whitish veil that is thicker here and thinner there; this share of the image is hidden on average."""
    cells = Image.fromarray(rng.uniform(0, 2, (FOG_CELLS, FOG_CELLS)).astype(np.float32))
    thickness = np.asarray(cells.resize((image.shape[1], image.shape[0]), Image.Resampling.BICUBIC))
    hidden = np.clip(level * thickness, 0, 1)[..., None]
    return image * (1 - hidden) + 230 * hidden


CORRUPTIONS: dict[str, tuple[Corrupt, tuple[float, float, float]]] = {
    "noise": (noise, (0.04, 0.08, 0.16)),
    "blur": (blur, (0.01, 0.02, 0.04)),
    "jpeg": (jpeg, (40.0, 20.0, 8.0)),
    "brightness": (brightness, (0.15, 0.3, 0.45)),
    "contrast": (contrast, (0.6, 0.4, 0.2)),
    "fog": (fog, (0.2, 0.4, 0.6)),
}


def corrupted(images: np.ndarray, name: str, strength: int, *, seed: int) -> np.ndarray:
    """The images as the corruption of this strength (1 to 3) leaves them, uint8; the same on every call.

    Args:
        images: uint8 of shape (images, side, side, 3).
        name: an entry of `CORRUPTIONS`.
        strength: 1 to 3.
        seed: each image has draws of its own, by its position.
    """
    corrupt, levels = CORRUPTIONS[name]
    drawn = (corrupt(image, levels[strength - 1], np.random.default_rng((seed, i))) for i, image in enumerate(images))
    return np.stack([np.clip(np.rint(image), 0, 255).astype(np.uint8) for image in drawn])
