"""The command `kirik`: parses, calls one function, prints.

Exit codes: 0 all went well; 1 done, but some files could not be read, or a split leaks; 2 nothing
could be done, and one line on standard error says why; 130 stopped with Ctrl-C.
"""

import gc
import io
import os
import signal
import sys

STOPPED = 130
_FAILING = ("strict", "surrogateescape")


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command `kirik`."""
    sys.stdout, sys.stderr = _heard(sys.stdout), _heard(sys.stderr)
    # A mark that an older terminal's letters lack, as ● in those of Windows or of the C locale, is
    # no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in _FAILING:
        sys.stdout.reconfigure(errors="replace")
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # pressed once more, while the first one was told of
        code = STOPPED
    except Exception:  # what nobody foresaw is not "done, but some files could not be read"
        sys.excepthook(*sys.exc_info())
        code = 2
    if code == STOPPED:
        # Pressed once more, it ends the rest without tracebacks out of what is being put away.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The end looks through all that is still there for garbage, for a sixth of a second.
    gc.freeze()
    sys.exit(code)


class _Heard(io.FileIO):
    """Standard output or error that may break off: its reader, such as `head`, may go before the
    end. What follows goes nowhere, and the command does and returns what it would have. That the
    disk of a result is full is raised, once."""

    def write(self, content) -> int | None:
        try:
            return super().write(content)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self.fileno() == 1 and not isinstance(error, BrokenPipeError):
                raise
            return super().write(content)


def _heard(stream):
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # `python -u` has no buffer between
    if type(raw) is not io.FileIO or raw.fileno() not in (1, 2):
        return stream
    heard = _Heard(raw.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        heard if raw is buffer else io.BufferedWriter(heard),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what is wrong is said in one line."""
    try:
        # All is imported here, as it takes half a second, in which one may already want to stop.
        if arguments[:1] == ["predict"]:
            asked = arguments[1:]
            _begin(asked)
            if asked and not any(word.startswith("-") for word in asked):
                from kirik.cli.reading import predict
                from kirik.cli.refusals import answered

                return answered(lambda: predict(asked))
        from kirik.cli.commands import command

        return command(arguments)
    except KeyboardInterrupt as stop:
        print(f"kirik: {str(stop) or 'stopped'}", file=sys.stderr)
        return STOPPED


def _begin(asked: list[str]) -> None:
    """Have a reading's first decoding process get ready while this one is not yet so itself."""
    # Plugins of pydantic have no part in a reading; to look for them goes through all packages.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if asked and not {"--help", "-h", "--cluster"} & {*asked}:
        from kirik.reading.decoder import shared_decoders

        shared_decoders().start()
