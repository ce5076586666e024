"""A provider says that something happened. That makes payouts due and settles nothing: a worker asks about them."""

import logging

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, JsonResponse
from django.utils.translation import gettext_lazy as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from prometheus_client import Counter
from rest_framework.throttling import BaseThrottle

from callers.limits import cache_key
from payouts.bell import announce
from payouts.gateways import route_names, routes
from payouts.models import Payout

logger = logging.getLogger(__name__)

BODY_MAX_BYTES = 64 * 1024
# What one address may send to one process in a second. A provider repeats what was refused.
MOST_A_SECOND = 50
NOTIFICATIONS = Counter(
    "payouts_notifications", "Notifications by gateway and what became of them.", ["gateway", "result"]
)


@csrf_exempt
@require_POST
def notification(request: HttpRequest, name: str) -> JsonResponse:
    if name not in route_names():
        return answer("other", "unknown", 404, _("There is no such gateway."))
    if refusal := refuse_unread(request, name):
        return refusal
    gateway = routes()[name].gateway
    try:
        keys = list(gateway.named(request))
    except PermissionDenied:
        return answer(name, "refused", 403, _("This notification is not trusted."))
    except ValueError:
        return answer(name, "unreadable", 400, _("This notification cannot be read."))
    by = f"notification {name} {request.id}"  # type: ignore[attr-defined]
    # Where nobody can look, a hint would have it sent again.
    for pk in Payout.objects.hint(name, keys, by=by) if keys and gateway.can_look else ():
        announce(Payout(pk=pk))
    # What we do not know is no reason to send it again.
    return answer(name, "taken", 200, "")


def refuse_unread(request: HttpRequest, name: str) -> JsonResponse | None:
    """Before a byte of the body is read."""
    if "Transfer-Encoding" in request.headers:
        # Django would read a body without a length as an empty one.
        return answer(name, "no length", 411, _("Content-Length is required."))
    if int(request.META.get("CONTENT_LENGTH") or 0) > BODY_MAX_BYTES:
        return answer(name, "too long", 413, _("The body is longer than {limit} bytes.").format(limit=BODY_MAX_BYTES))
    if is_too_often(request):
        return answer(name, "too often", 429, _("Too many notifications."))
    return None


def is_too_often(request: HttpRequest) -> bool:
    counter = cache_key("notification", BaseThrottle().get_ident(request))  # type: ignore[arg-type]
    cache.add(counter, 0, 1)
    try:
        return cache.incr(counter) > MOST_A_SECOND
    except ValueError:
        # The second is over.
        return False


def answer(name: str, result: str, status: int, detail: object) -> JsonResponse:
    NOTIFICATIONS.labels(name, result).inc()
    return JsonResponse({"detail": str(detail)} if detail else {}, status=status)
