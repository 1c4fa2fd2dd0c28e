"""Pictures for the relabel page: read from the raw store, decoded as everywhere else, encoded for a browser."""

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from src.artifacts import Manifest
from src.data.archives import open_images
from src.data.checks import decode

READ_AHEAD = 16
KEPT_BYTES = 128 * 2**20
LOSSLESS_SIDE = 256
LARGEST_SIDE = 1600


class Pictures:
    """The images with those ids, by id; safe to use from several threads.

    What is asked for next is read in the same pass, as an archive may have to be read from its beginning each time.
    """

    def __init__(self, manifest: Manifest, ids: Sequence[str], *, max_pixels: int) -> None:
        rows = manifest.table[manifest.table["id"].isin(set(ids))]
        self._paths = dict(zip(rows["id"], rows["path"], strict=True))
        self._sha256 = dict(zip(rows["id"], rows["sha256"], strict=True))
        self._order = [image_id for image_id in dict.fromkeys(ids) if image_id in self._paths]
        self._location = Path(manifest.location)
        self._max_pixels = max_pixels
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._paths

    def encoded(self, image_id: str) -> tuple[bytes, str]:
        """The picture as PNG, or as JPEG of at most `LARGEST_SIDE` px where it is large, and its media type.

        Raises:
            KeyError: no such id.
            ValueError: the image is no longer what the manifest says.
        """
        content = self._content(image_id)
        if hashlib.sha256(content).hexdigest() != self._sha256[image_id]:
            raise ValueError(f"{image_id} has changed since the manifest was made; run make data again")
        return _encoded(decode(content, self._max_pixels))

    def _content(self, image_id: str) -> bytes:
        with self._lock:
            if image_id not in self._contents:
                first = self._order.index(image_id)
                ahead = [name for name in self._order[first : first + READ_AHEAD] if name not in self._contents]
                try:
                    self._read(ahead, needed=image_id)
                except (ValueError, OSError):
                    # one of those after it may be at fault, which is told when it is asked for
                    if image_id not in self._contents:
                        self._read([image_id], needed=image_id)
            self._contents.move_to_end(image_id)
            return self._contents[image_id]

    def _read(self, ids: Sequence[str], *, needed: str) -> None:
        """Read the images into what is kept, and forget the oldest, never the needed one, where that is too much."""
        names = {self._paths[image_id]: image_id for image_id in ids}
        for name, content in open_images(self._location).read(list(names)):
            self._contents[names[name]] = content
            for oldest in list(self._contents):
                if sum(map(len, self._contents.values())) <= KEPT_BYTES:
                    break
                if oldest != needed:
                    del self._contents[oldest]


def _encoded(image: Image.Image) -> tuple[bytes, str]:
    out = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(out, format="PNG")
        return out.getvalue(), "image/png"
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
    image.save(out, format="JPEG", quality=90)
    return out.getvalue(), "image/jpeg"
