"""From artifacts to figures and pages. Never imports torch."""
