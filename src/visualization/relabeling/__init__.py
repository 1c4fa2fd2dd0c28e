"""The page on which people decide about labels: what is asked, and the server behind it."""
