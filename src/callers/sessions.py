"""The admin's login, and what becomes of a page whose session has changed."""

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.views.csrf import csrf_failure

from runtime.rest import ApiError


def login(request: HttpRequest) -> HttpResponse:
    """The admin's login, which answers 429 to too many wrong passwords."""
    if is_dialog(request):
        return reload_page()
    try:
        return admin.site.login(request)
    except ApiError as error:
        headers = {"Retry-After": str(error.wait)}
        return HttpResponse(str(error), "text/plain; charset=utf-8", error.status_code, headers=headers)


def refuse_forgery(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The answer to a form without the session's CSRF token."""
    if not is_dialog(request):
        return csrf_failure(request, reason)
    messages.error(request, _("Nothing was done: you have logged in anew meanwhile. Try again."))
    return reload_page()


def is_dialog(request: HttpRequest) -> bool:
    """Unfold loads its dialogs by htmx."""
    return "HX-Request" in request.headers


def reload_page() -> HttpResponse:
    """A dialog can show neither a login nor a refusal. Its page can, once it is loaded again."""
    return HttpResponse(status=403, headers={"HX-Refresh": "true"})
