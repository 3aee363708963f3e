"""What is raised when the processes of a group do not fit each other."""


class DistributedError(RuntimeError):
    """Processes cannot train together, or one of them has failed."""
