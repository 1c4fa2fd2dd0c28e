"""Images by name, wherever their bytes lie: folders, single files, zip and tar archives."""
