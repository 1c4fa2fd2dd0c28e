"""The package `src` and what it needs, as ranges; requirements.txt pins the versions that were tested together."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "src" / "__init__.py").read_text(encoding="utf-8")).group(1)

setup(
    name="image-classification",
    version=VERSION,
    description="Image classification from raw files to a trusted model",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["src", "src.*"]),
    package_data={"src.visualization": ["templates/*"], "src.models.serving": ["page.html"]},
    install_requires=[
        "captum>=0.8,<1",
        "dvc>=3.60,<4",
        "fastapi>=0.115,<1",
        "filelock>=3.12",
        "huggingface-hub>=0.34",
        "hydra-core>=1.3.2,<1.4",
        "ImageHash>=4.3.1,<5",
        "jaxtyping>=0.2.34",
        "Jinja2>=3.1,<4",
        "kaggle>=2.2,<3",
        "kagglesdk>=0.1.37,<1",
        "MarkupSafe>=2.1",
        "matplotlib>=3.9,<4",
        "numpy>=2.0,<3",
        "omegaconf>=2.3,<2.4",
        "optuna>=5,<6",
        "packaging>=24",
        "pandas>=2.2,<4",
        "pillow>=11.3",
        "prometheus_client>=0.21,<1",
        "psutil>=6",
        "pyarrow>=18",
        "pydantic>=2.9,<3",
        "python-dotenv>=1.0,<2",
        "PyYAML>=6.0,<7",
        "ruamel.yaml>=0.18",
        "safetensors>=0.5",
        "scikit-learn>=1.5,<2",
        "scipy>=1.13,<2",
        "timm>=1.0.20,<2",
        "torch>=2.11,<3",
        "torchvision>=0.26,<1",
        "starlette>=0.40",
        "tqdm>=4.66,<5",
        "uvicorn>=0.34,<1",
        "wandb>=0.22,<1",
    ],
    extras_require={
        "labels": ["cleanlab>=2.9,<3"],
        "trackers": ["mlflow-skinny>=3.17,<4", "tensorboardX>=2.6,<3"],
        "s3": ["dvc-s3>=3.2,<4"],
        "gs": ["dvc-gs>=3,<4"],
        "ssh": ["dvc-ssh>=4,<5"],
    },
)
