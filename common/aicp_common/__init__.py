"""What the services share: bus, envelope, errors, settings, tools, telemetry, Redis scripts."""

__version__ = "0.1.0"
