"""The errors of nbmem.

::

    NbmemError
    ├── BadArgument(ValueError)     an argument that cannot be used; the message says which would
    ├── NotMeasured(RuntimeError)   a figure was asked for that this measurement does not have
    ├── AlreadyRunning(RuntimeError)   a second measurement where only one can run
    └── MemoryLimitExceeded(MemoryError)   raised in code that reached the limit (nbmem.limit)
    MemoryLimitInterrupt(BaseException)   raised in code that caught that several times and went on
"""


class NbmemError(Exception):
    """The base of every error that nbmem raises on purpose."""


class BadArgument(NbmemError, ValueError):
    """An argument that cannot be used."""


class NotMeasured(NbmemError, RuntimeError):
    """A figure that this measurement does not have."""


class AlreadyRunning(NbmemError, RuntimeError):
    """A second measurement where only one can run."""


class MemoryLimitExceeded(NbmemError, MemoryError):
    """The process reached the memory limit that was set for it."""

    # Raised in another thread it comes without a message.
    def __str__(self) -> str:
        return super().__str__() or "the memory limit was reached (%memlimit, nbmem.limit)"


class MemoryLimitInterrupt(BaseException):
    """The code caught :class:`MemoryLimitExceeded` several times and still grew.

    Not an ``Exception``, so that ``except Exception`` lets it through; and no KeyboardInterrupt, which
    would end the event loop whose task it is raised in.
    """
