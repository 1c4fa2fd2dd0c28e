"""An archive laid out as that of CIFAR-10, of a few drawn images, and torchvision's class with its checksums.

The class is torchvision's own but for the address and the checksums, so that all it compares is compared.
"""

import gzip
import hashlib
import os
import pickle
import tarfile
from functools import cache
from io import BytesIO

import numpy as np

CLASSES = ["airplane", "automobile", "bird"]
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
PER_BATCH = 4
ADDRESS = "DRAWN_CIFAR10_ADDRESS"


def pixels() -> np.ndarray:
    """Every image in the published order, (N, 32, 32, 3) uint8."""
    shape = (len(BATCHES) * PER_BATCH, 3, 32, 32)
    return np.random.default_rng(10).integers(0, 256, shape, dtype=np.uint8).transpose(0, 2, 3, 1)


def labels() -> list[int]:
    return [index % len(CLASSES) for index in range(len(BATCHES) * PER_BATCH)]


@cache
def pickles() -> dict[str, bytes]:
    flat = pixels().transpose(0, 3, 1, 2).reshape(len(labels()), -1)
    files = {}
    for number, name in enumerate(BATCHES):
        rows = slice(number * PER_BATCH, (number + 1) * PER_BATCH)
        files[name] = pickle.dumps({"data": flat[rows], "labels": labels()[rows]}, protocol=2)
    return files | {"batches.meta": pickle.dumps({"label_names": CLASSES}, protocol=2)}


@cache
def archive() -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in pickles().items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def drawn_cifar10():
    """The class of the drawn set; called in the process of the download, as the real one is."""
    from torchvision.datasets import CIFAR10

    sums = {name: md5(content) for name, content in pickles().items()}

    class DrawnCIFAR10(CIFAR10):
        url = os.environ.get(ADDRESS, "http://127.0.0.1:9/nothing-listens-here")
        tgz_md5 = md5(archive())
        train_list = tuple([name, sums[name]] for name in BATCHES[:-1])
        test_list = ([BATCHES[-1], sums[BATCHES[-1]]],)

    DrawnCIFAR10.train_list, DrawnCIFAR10.test_list = list(DrawnCIFAR10.train_list), list(DrawnCIFAR10.test_list)
    DrawnCIFAR10.meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    return DrawnCIFAR10
