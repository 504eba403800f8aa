"""Errors that are the caller's to mend: the command line prints them in one line, without a traceback."""


class GaitkeeperError(Exception):
    """Something in the input is not as expected; the message names what, what was expected and what came."""


class DataError(GaitkeeperError):
    """A file, folder or array cannot be used."""


class VideoError(DataError):
    """A video cannot be decoded or shows nothing that can be used."""


class WeightsError(GaitkeeperError):
    """A checkpoint does not fit its network."""
