"""The answers that no view gives: something is wrong with the database, the path or the request as a whole."""

import logging
from typing import Any

from django.db import connection
from django.http import Http404, HttpRequest, JsonResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from psycopg.errors import QueryCanceled
from rest_framework import views
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.response import Response

from runtime.database import UNAVAILABLE
from runtime.rest import ApiError

logger = logging.getLogger(__name__)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    view = context["view"]
    # A list that takes too long can be narrowed. The view declares how.
    if isinstance(error.__cause__, QueryCanceled) and getattr(view, "action", "") == "list":
        error = ValidationError({"detail": view.advice_if_slow})
    if isinstance(error, Http404):
        # Django's message names the model, in English.
        error = NotFound()
    if isinstance(error, UNAVAILABLE):
        logger.warning("the database is not available: %s", error)
        error = ApiError(503, _("The database is not available. A change may have been made."), retry_after=5)
    return views.exception_handler(error, context)


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None) -> JsonResponse:
    return JsonResponse({"detail": _("There is nothing here. Paths end with a slash.")}, status=404)


def bad_request(request: HttpRequest, exception: Exception) -> JsonResponse:
    # Logged for the operator: ALLOWED_HOSTS may lack a host.
    logger.warning("a request is refused: %s", exception)
    return JsonResponse({"detail": ParseError.default_detail}, status=400)


def server_error(request: HttpRequest) -> JsonResponse:
    # Close the connection: `atomic` has rolled back, so Django trusts it, but its server may no longer take writes.
    connection.close()
    detail = _("This is our mistake, not yours. Check what became of the payout, and report the X-Request-ID.")
    return JsonResponse({"detail": detail}, status=500)
