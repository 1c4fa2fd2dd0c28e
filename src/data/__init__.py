"""From a source of images to a manifest that can be believed. Never imports torch."""
