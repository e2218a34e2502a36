"""`kirik serve`: the reading room."""

import logging
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from kirik.cli.options import Count
from kirik.cli.room import Days, settings_of
from kirik.errors import BundleError, SettingsError

Folders = Annotated[tuple[Path, ...], Parameter(negative="")]
Flag = Annotated[bool, Parameter(negative="")]
Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
_PLAIN = (
    "kirik: passwords and radiographs go over the network unencrypted; give --certificate and "
    "--key, or put a proxy with TLS in front of it"
)


def serve(
    *,
    host: str = "127.0.0.1",
    port: Port = 8000,
    data: Path | None = None,
    model: Path | None = None,
    watch: Folders = (),
    deidentify: Flag = False,
    retention_days: Days | None = None,
    threads: Count | None = None,
    worker: bool = True,
    certificate: Path | None = None,
    key: Path | None = None,
) -> int:
    """Open the reading room: a page and an API to hand radiographs in, see them read and judge.

    Parameters
    ----------
    host
        Address to listen on; on any other than this machine's own an account must exist
        (kirik users add).
    port
        Port to listen on; 0 for a free one.
    data
        Folder of the files and the database; else $KIRIK_DATA, else ~/.local/share/kirik. The
        database of $KIRIK_DATABASE_URL, if that is set.
    model
        A shipped model's name, a bundle, or the run that made it. A model that an administrator
        put in counts more.
    watch
        A folder whose new radiographs are taken in; can be given several times. Not with
        --no-worker.
    deidentify
        Drop patients' names, ids and all that could tell them before anything is stored.
    retention_days
        Delete studies after so many days; never if not given. Not with --no-worker: give it to
        kirik worker.
    threads
        Processor threads for the network; all of them if not given.
    worker
        Read in a process beside the server; --no-worker leaves it to kirik worker.
    certificate
        File of the TLS certificate, for https; with --key.
    key
        File of the certificate's private key.
    """
    settings = settings_of(
        data,
        host=host,
        port=port,
        model=model,
        watch=watch,
        deidentify=deidentify,
        retention_days=retention_days,
        threads=threads,
    )
    for folder in settings.watch:
        if not folder.is_dir():
            raise SettingsError(f"--watch {folder}: no such folder")
    if settings.watch and not worker:
        raise SettingsError("--watch needs the worker beside the server; leave out --no-worker")
    if settings.retention_days is not None and not worker:
        raise SettingsError(
            "--retention-days: workers delete, and --no-worker leaves out this one; give it to "
            "kirik worker"
        )
    if (certificate is None) != (key is None):
        raise SettingsError("--certificate and --key go together")
    if certificate is not None:
        _check_certificate(certificate, key)
    from kirik.service.core import open_core

    with closing(open_core(settings)) as core:
        _check_address(core, tls=certificate is not None)
        _check_model(core)
        _run(core, worker, certificate, key)
    return 0


def _check_certificate(certificate: Path, key: Path) -> None:
    """Before the room is said to be open. Raises SettingsError."""
    import ssl

    for option, path in (("--certificate", certificate), ("--key", key)):
        if not path.is_file():
            raise SettingsError(f"{option} {path}: no such file")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"--certificate {certificate}, --key {key}: no pair in PEM that can be read "
            f"({error.strerror or error}); give the certificate and its own key"
        ) from error


def _check_address(core, *, tls: bool) -> None:
    """Refuse to be open to others while nobody needs to sign in."""
    from kirik.service import access
    from kirik.service.api.asked import is_loopback

    host = core.settings.host
    if is_loopback(host):
        return
    with core.database.reading() as session:
        if not access.anyone(session):
            raise SettingsError(
                f"--host {host}: others could reach it, and there is no account yet; make one "
                "first: kirik users add NAME --role administrator"
            )
    if not tls:
        print(_PLAIN, file=sys.stderr)


def _check_model(core) -> None:
    """Say early that nothing will be read; an administrator may still put a model in."""
    from kirik.bundle import find_bundle
    from kirik.service.models_in_use import model_in_use

    try:
        find_bundle(model_in_use(core))
    except BundleError as error:
        if core.settings.model:
            raise
        print(f"kirik: {error}; until then studies wait", file=sys.stderr)


def _run(core, worker: bool, certificate: Path | None, key: Path | None) -> None:
    from contextlib import nullcontext

    from kirik.service.app import create_app
    from kirik.service.companion import Companion
    from kirik.service.server import Server, config

    settings = core.settings
    logging.getLogger("kirik").setLevel(logging.WARNING)
    listening = _listening(settings.host, settings.port)
    app = create_app(core=core)
    server = Server(config(app, certificate, key))
    # uvicorn, once it has ended, raises it anew: it would end this process before its worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with closing(listening), Companion(settings) if worker else nullcontext():
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        scheme = "https" if certificate else "http"
        address = f"{scheme}://{shown}:{listening.getsockname()[1]}/"
        print(f"The reading room is open: {address} (Ctrl-C closes it)", flush=True)
        server.run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SettingsError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(512)
    except (OSError, OverflowError) as error:
        listening.close()
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"{host}:{port}: cannot listen there ({why}); name another --port"
        ) from error
    return listening
