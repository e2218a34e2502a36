"""All commands of `kirik`."""

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from pydantic import ValidationError

from kirik import __version__
from kirik.cli.refusals import answered, refuse

app = App(
    name="kirik",
    help="Reads plain radiographs for fractures, and makes and measures the model that does. "
    "For research and decision support; not a medical device.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# By name: each module is imported where its command is asked for.
app.command("kirik.cli.reading:predict", default_parameter=Parameter(negative=""))
for place in (
    *("reading:models", "data:app"),
    *("service:serve", "room:worker", "room:users", "room:audit"),
    *(f"bench:{name}" for name in ("train", "crossval", "evaluate", "compare")),
    *("bench:ensemble", "bench:study"),
):
    app.command(f"kirik.cli.{place}", name="data" if place == "data:app" else None)


def command(arguments: list[str]) -> int:
    """Run one command line and return its exit code; what is wrong is said in one line. Raises
    KeyboardInterrupt."""

    def asked() -> int | None:
        if not arguments or arguments[0].startswith("-"):  # help tells what each command does
            _ = [app[name] for name in app]
        return app(arguments, exit_on_error=False, print_error=False)

    try:
        return answered(asked)
    except CycloptsError as error:
        return refuse(_one_line(error))


def _one_line(error: CycloptsError) -> str:
    """A parser's message in one line; what pydantic refuses, by the option's name."""
    if isinstance(error.__cause__, ValidationError):
        from kirik.training.settings import flaw_words

        flaw = error.__cause__.errors()[0]
        option = "--" + ".".join(map(str, flaw["loc"])).replace("_", "-")
        return f"{option}: {flaw_words(flaw)}"
    if isinstance(error, MissingArgumentError) and error.keyword is None:
        asked, name = " ".join(error.command_chain), error.argument.name
        if error.argument.field_info.is_positional:
            name = name.removeprefix("--").upper()
        return f"{asked} needs {name}; kirik {asked} --help tells what it takes"
    return " ".join(str(error).split())
