"""What ends the bridge."""


class ConnectError(Exception):
    """Trying again would not help; the text is what the user reads."""
