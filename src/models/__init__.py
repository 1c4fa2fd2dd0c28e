"""From packed pixels to a checkpoint, and from a checkpoint to predictions."""
