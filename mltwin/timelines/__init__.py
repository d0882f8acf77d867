"""Timelines: what each GPU did when, for Perfetto and for the built-in replay view."""
