"""Image classification from raw files to a trusted model."""

__version__ = "0.1.0"
