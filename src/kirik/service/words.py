"""Names as they are searched: without case, accents, or a difference of ı and i."""

import unicodedata


def searchable(text: str) -> str:
    """A text as it is compared; words apart by one space."""
    plain = unicodedata.normalize("NFKD", text.replace("ı", "i").replace("^", " ").casefold())
    return " ".join("".join(c for c in plain if not unicodedata.combining(c)).split())


def contains(text: str) -> str:
    r"""The LIKE pattern, escaped with \, for what contains a text."""
    plain = searchable(text)
    for special in ("\\", "%", "_"):
        plain = plain.replace(special, f"\\{special}")
    return f"%{plain}%"


def one_line(text: str, most: int) -> str:
    """A text that a database takes and a page can show on one line."""
    plain = text.encode("utf-8", "replace").decode()
    return "".join(c for c in plain if c.isprintable()).strip()[:most]
