"""Every error that Personae raises on purpose.

An error says where, what was expected, what came, and what to do.
"""

__all__ = ["DataError", "PersonaeError", "RequestError", "WeightsError", "WorkError"]


class PersonaeError(Exception):
    """Base of all errors that a user can cause or mend."""

    exit_status = 1


class DataError(PersonaeError):
    """A file's content is not what it has to be; the message names the file and the line."""


class RequestError(PersonaeError):
    """The request itself was wrong: a flag, a name, a combination."""

    exit_status = 2


class WeightsError(PersonaeError):
    """Weights are missing, damaged, foreign, or their licence forbids the use asked for."""


class WorkError(PersonaeError):
    """The work could not be finished: a full disk, a worker that died."""
