"""Pages of the explorer, one file each."""
