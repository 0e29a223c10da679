"""The tests, in the order of the floors of `launcher`."""
