"""What a person chose of the pages: language and theme, asked for, remembered, or the browser's."""

from fastapi import Request, Response

from kirik.page import LANGUAGES

THEMES = ("auto", "light", "dark")
_COOKIES = {"language": "kirik_language", "theme": "kirik_theme"}
_YEAR = 365 * 24 * 3600


def language_of(request: Request) -> str:
    """The language of a page: `?language=`, else the cookie's, else the browser's, else English."""
    chosen = _chosen(request, "language", LANGUAGES)
    return chosen or _preferred(request.headers.get("accept-language", "")) or LANGUAGES[0]


def theme_of(request: Request) -> str:
    """Light, dark, or auto: as the system has it."""
    return _chosen(request, "theme", THEMES) or THEMES[0]


def remember(request: Request, response: Response) -> None:
    """Keep in a cookie what the address asked for."""
    for name, known in (("language", LANGUAGES), ("theme", THEMES)):
        if (asked := request.query_params.get(name)) in known:
            response.set_cookie(
                _COOKIES[name],
                asked,
                max_age=_YEAR,
                samesite="lax",
                httponly=True,
                secure=request.url.scheme == "https",
            )


def _chosen(request: Request, name: str, known: tuple[str, ...]) -> str | None:
    said = (request.query_params.get(name), request.cookies.get(_COOKIES[name]))
    return next((value for value in said if value in known), None)


def _preferred(header: str) -> str | None:
    """The browser's first language that kirik speaks, by its weights (RFC 9110, 12.5.4)."""
    wanted = []
    for place, part in enumerate(header.split(",")[:20]):
        name, _, weight = part.partition(";")
        try:
            share = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            share = 0.0
        wanted.append((-share, place, name.strip().lower().split("-")[0]))
    return next((name for share, _, name in sorted(wanted) if share and name in LANGUAGES), None)
