"""The service: HTTP in front, one forward pass after another behind."""
