"""What kirik says when something is wrong: one line, in the user's words, with what to do.

The command line prints such an error without a traceback and exits with code 2; a batch keeps
it beside the file it concerns and goes on.
"""

NO_THREADS = "no thread can be started here; raise the limit of processes (ulimit -u)"


def installed(extra: str) -> str:
    """How to get what kirik needs for more than reading. Not by the name alone: no index has it
    yet, and what will be found there under it may be anybody's."""
    return f"in kirik's clone: pip install '.[{extra}]'"


class KirikError(Exception):
    """Base of all errors that are the input's or the machine's fault, never kirik's own."""


class RadiographError(KirikError):
    """A file that cannot be read as a radiograph; `reason` is a short, stable word for it, and
    `frame` the number of the frame concerned where others of the file can be read."""

    def __init__(self, message: str, *, reason: str = "unreadable", frame: int | None = None):
        super().__init__(message)
        self.reason, self.frame = reason, frame


class DataSetError(KirikError):
    """A data set, an annotation file or a CSV that does not say what it must."""


class SplitError(KirikError):
    """A split that leaks, is incomplete, or does not fit the data set."""


class SettingsError(KirikError):
    """A setting, a name or a combination of them that cannot be used."""


class TrainingError(KirikError):
    """A training run that cannot start, go on, or be exported."""


class BundleError(KirikError):
    """A bundle that is absent, incomplete, changed, or written by a newer kirik."""


class DownloadError(KirikError):
    """A download that broke off for good, or whose bytes are not the promised ones."""


class OutputError(KirikError):
    """A file that kirik was asked to write and cannot: a full disk, a closed folder."""
