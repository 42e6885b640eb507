"""What stops a hub."""


class HubError(Exception):
    """The hub cannot start; the text is what the user reads: what is wrong and which flag changes it."""
