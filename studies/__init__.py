"""Scripted what-if studies, each a page of Python; see README.md beside this file."""
