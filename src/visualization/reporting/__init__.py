"""The page of one run and its model card."""
