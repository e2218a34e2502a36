"""The pages of the reading room: shells that the server fills with words, and modules that ask the
API. No build step, no framework, nothing from another host, no script or style in the markup."""

from kirik.service.pages.router import add_pages, error_page

__all__ = ["add_pages", "error_page"]
