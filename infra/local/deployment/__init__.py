"""The steps of deploy.py: staging, packaging, change set, outputs."""


class DeployError(Exception):
    """A deploy cannot go on; the text is for the user."""
