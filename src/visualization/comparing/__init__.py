"""Finished runs compared: groups of repetitions, the images they share, tests, tables, figures, a page."""
