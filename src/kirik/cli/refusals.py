"""What is said where a command fails: one line, and a code for it."""

import errno
import sys
from collections.abc import Callable

from kirik.errors import NO_THREADS, KirikError, installed


def answered(command: Callable[[], int | None]) -> int:
    """Run a command and return its exit code; what is wrong is said in one line. Raises
    KeyboardInterrupt, and what no user can help."""
    try:
        code = command()
        if sys.stdout:  # else there is none
            sys.stdout.flush()
    except KirikError as error:
        return refuse(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return refuse(where + _EXPLAINED.get(error.errno, str(error.strerror or error)))
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        return refuse(NO_THREADS)
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
        advice = f"{what} needs it: {installed(extra)}"
        return refuse(f"{error.name} is not installed; {advice}")
    return code or 0


def refuse(message: str) -> int:
    """Say why nothing could be done, and return the code for that."""
    print(f"kirik: {message}", file=sys.stderr)
    return 2


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
