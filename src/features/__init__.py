"""From a manifest to packed pixels, batches and the networks that turn pixels into features."""
