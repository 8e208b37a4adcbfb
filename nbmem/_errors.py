"""The errors of nbmem.

::

    NbmemError
    ├── BadArgument(ValueError)     an argument that cannot be used; the message says which would
    ├── NotMeasured(RuntimeError)   a figure was asked for that this measurement does not have
    └── AlreadyRunning(RuntimeError)   a second measurement where only one can run
"""


class NbmemError(Exception):
    """The base of every error that nbmem raises on purpose."""


class BadArgument(NbmemError, ValueError):
    """An argument that cannot be used."""


class NotMeasured(NbmemError, RuntimeError):
    """A figure that this measurement does not have."""


class AlreadyRunning(NbmemError, RuntimeError):
    """A second measurement where only one can run."""
