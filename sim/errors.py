"""The errors a user may meet, each with the exit code of the command line."""


class MltwinError(Exception):
    """Base of all errors of this package; ends the command line with exit code 1."""

    exit_code = 1


class InputError(MltwinError):
    """Something the user gave is wrong: a file, an option, a policy, a scenario.

    Args:
        message: what is wrong, with the offending value.
        where: file, line, column or option, e.g. ``trace.csv, line 7, column 'TIMESTAMP'``.
        mend: what to do about it.

    ``str(error)`` is one line: ``where: message; mend``.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str | None = None, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.mend = mend

    def __str__(self) -> str:
        text = self.message
        if self.where:
            text = f"{self.where}: {text}"
        if self.mend:
            text = f"{text}; {self.mend}"
        return " ".join(text.split())


class KernelError(MltwinError):
    """A kernel found a broken invariant: a bug of ours, or of a policy."""

    exit_code = 3
