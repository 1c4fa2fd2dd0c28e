"""The page of the data audit: what it shows and how it is drawn."""
