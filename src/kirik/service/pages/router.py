"""The addresses of the pages, and the page that an error gets."""

from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from kirik import __version__
from kirik.page import LANGUAGES
from kirik.service.pages.choices import language_of, remember, theme_of
from kirik.service.pages.words import words_for, words_of

_HERE = Path(__file__).parent
_environment = Environment(
    loader=PackageLoader("kirik.service.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class _Static(StaticFiles):
    """Files that a browser asks for again each time (304), so that an update is seen at once."""

    def file_response(self, *args, **kwargs) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def add_pages(app: FastAPI) -> None:
    """Give an app the pages and what they load."""
    app.mount("/static", _Static(directory=_HERE / "static"), name="static")
    app.include_router(router)


def _page(request: Request, page: str, status: int = 200, **values) -> HTMLResponse:
    language = language_of(request)
    values = {
        "page": page,
        "language": language,
        "languages": LANGUAGES,
        "theme": theme_of(request),
        "w": words_of(language),
        "script_words": words_for(page, language),
        "path": request.url.path,
        "version": __version__,
    } | values
    text = _environment.get_template(f"{page}.html").render(values)
    response = HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})
    response.headers["Vary"] = "Accept-Language, Cookie"
    remember(request, response)
    return response


@router.get("/")
def worklist(request: Request) -> Response:
    return _page(request, "worklist")


@router.get("/studies/{study}")
def viewer(request: Request, study: str) -> Response:
    return _page(request, "viewer", study=study)


@router.get("/agreement")
def agreement(request: Request) -> Response:
    return _page(request, "agreement")


@router.get("/admin")
def admin(request: Request) -> Response:
    return _page(request, "admin")


@router.get("/login")
def login(request: Request) -> Response:
    return _page(request, "login", next=_own_path(request.query_params.get("next", "/")))


@router.get("/about")
def about(request: Request) -> Response:
    return _page(request, "about")


def error_page(request: Request, status: int, detail: str = "") -> Response:
    """What a browser is shown instead of a page: to sign in where that is what lacks."""
    if status == HTTPStatus.UNAUTHORIZED:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(asked, safe='')}", status_code=303)
    words = words_of(language_of(request))["error"]
    known = str(status) if f"{status}_title" in words else "other"
    return _page(
        request,
        "error",
        status,
        code=status,
        title=words[f"{known}_title"],
        advice=words[f"{known}_text"],
        detail=detail,
    )


def _own_path(path: str) -> str:
    """A path of this server's; anything that could lead to another host becomes the work list."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe and "\\" not in path else "/"
