"""The pytest plugin of the gate: fixtures for projects that guard their policies in their tests."""
