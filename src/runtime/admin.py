"""What the pages of the admin have in common."""

from typing import Any

from django.utils.html import format_html


def never(_admin: Any, request: Any, *_args: Any, **_kwargs: Any) -> bool:
    """For the `has_…_permission` of an admin: nobody may."""
    return False


def wrap(text: str) -> str:
    """Lets a browser break long words, because a phone is too narrow for them."""
    return format_html('<span style="overflow-wrap: anywhere; white-space: pre-line">{}</span>', text)
