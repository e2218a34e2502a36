"""All commands of `kirik`, and what is said where one fails."""

import errno
import sys

from cyclopts import App, CycloptsError
from pydantic import ValidationError

from kirik import __version__
from kirik.errors import KirikError

app = App(
    name="kirik",
    help="Reads plain radiographs for fractures, and makes and measures the model that does. "
    "For research and decision support; not a medical device.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# By name: each module is imported where its command is asked for.
for place in (
    *("reading:predict", "reading:models", "data:app"),
    *("service:serve", "room:worker", "room:users", "room:audit"),
    *(f"bench:{name}" for name in ("train", "crossval", "evaluate", "compare")),
    *("bench:ensemble", "bench:study"),
):
    app.command(f"kirik.cli.{place}", name="data" if place == "data:app" else None)


def command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what is wrong is said in one line. Raises
    KeyboardInterrupt."""
    try:
        if not arguments or arguments[0].startswith("-"):  # help tells what each command does
            _ = [app[name] for name in app]
        code = app(arguments, exit_on_error=False, print_error=False)
        if sys.stdout:  # else there is none
            sys.stdout.flush()
    except CycloptsError as error:
        return _refuse(_one_line(error))
    except KirikError as error:
        return _refuse(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _refuse(where + _EXPLAINED.get(error.errno, str(error.strerror or error)))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in _TRAINING_PACKAGES:
            what, extra = "training", "train"
        elif package == "psycopg":
            what, extra = "a PostgreSQL database", "postgres"
        elif package in _SERVING_PACKAGES:
            what, extra = "the reading room", "serve"
        else:
            raise
        advice = f"{what} needs it: pip install 'kirik[{extra}]'"
        return _refuse(f"{error.name} is not installed; {advice}")
    return code or 0


_TRAINING_PACKAGES = {"torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript"}
_SERVING_PACKAGES = {
    *("alembic", "argon2", "fastapi", "httpx", "prometheus_client", "python_multipart"),
    *("reportlab", "sqlalchemy", "starlette", "uvicorn"),
}
_EXPLAINED = {
    errno.ENOSPC: "the disk is full; free some space and try again",
    errno.EDQUOT: "the disk quota is used up; free some space and try again",
    errno.EACCES: "no permission; check who owns it, or name another place",
    errno.EPERM: "not permitted; name another place",
    errno.EROFS: "the file system is read-only; name another place",
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder; name a file",
    errno.ENOTDIR: "is not a folder",
}


def _one_line(error: CycloptsError) -> str:
    """A parser's message in one line; what pydantic refuses, by the option's name."""
    if isinstance(error.__cause__, ValidationError):
        from kirik.training.settings import flaw_words

        flaw = error.__cause__.errors()[0]
        option = "--" + ".".join(map(str, flaw["loc"])).replace("_", "-")
        return f"{option}: {flaw_words(flaw)}"
    return " ".join(str(error).split())


def _refuse(message: str) -> int:
    print(f"kirik: {message}", file=sys.stderr)
    return 2
