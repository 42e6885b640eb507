"""Helpers of the tests that kill parts of a hub, and of those that hold the scripts of tasks against a model."""
