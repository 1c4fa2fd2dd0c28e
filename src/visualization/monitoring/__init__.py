"""The page that says whether what comes to a model differs from what it was tested on."""
