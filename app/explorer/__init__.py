"""The explorer: pages in a browser over the same commands and results."""
