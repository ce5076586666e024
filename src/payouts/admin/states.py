"""What the pages call a payout's state, and what they say happens next."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from payouts.admin.formats import format_time
from payouts.machine import Status
from payouts.models import RETURNED_PREFIX, Payout

DELETED = ""
DOUBT, PENDING, WAITS, UNSENT, RETURNED = "DOUBT", "PENDING", "WAITS", "UNSENT", "RETURNED"
# Without a colour Unfold would show the code of a status, not its label.
COLOURS = dict.fromkeys((DELETED, *Status)) | {
    Status.NEW: "info",
    PENDING: "info",
    DOUBT: "warning",
    WAITS: "danger",
    UNSENT: "warning",
    RETURNED: "danger",
    Status.COMPLETED: "success",
    Status.FAILED: "danger",
}
# For whoever has never seen the code.
OUTLOOKS = {
    Status.NEW: _("A worker takes it as soon as one is free, usually within seconds."),
    Status.PROCESSING: _("A worker asks the gateway. Should it die, another one asks at %(at)s."),
    Status.FAILED: _("It was not paid, and will not be unless somebody sends it back to NEW."),
    DOUBT: _(
        "Nobody knows yet whether it was paid. Tries so far: %(attempt)s. The last one: %(note)s. The next one: %(at)s,"
        " or as soon as a worker is free. If you cannot wait, ask the gateway's people about the key below, and then"
        " settle it, for which there is a button above if you may."
    ),
    PENDING: _("The provider has been working on it since %(since)s. A worker asks what became of it at %(at)s."),
    WAITS: _(
        "No worker goes on with it: %(note)s. Ask the gateway's people what became of the key below. If they have"
        " booked it, settle it. If they have booked nothing, send it again. Both are buttons above if you may."
    ),
    UNSENT: _("It was not sent: %(note)s. A worker tries again at %(at)s."),
    RETURNED: _("It was paid, and the money came back. It is not paid again unless somebody sends it back to NEW."),
    DELETED: _("It was deleted: no worker pays it."),
}


NAMES = {
    DOUBT: _("Outcome unknown"),
    PENDING: _("With the provider"),
    WAITS: _("Waits for a person"),
    UNSENT: _("Not sent yet"),
    RETURNED: _("Returned"),
}


def state(payout: Payout) -> tuple[str, Any]:
    """Its code and its name."""
    if payout.deleted_at:
        return DELETED, _("Deleted")
    code = RETURNED if is_returned(payout) else payout.stage
    return (code, NAMES[code]) if code else (payout.status, payout.get_status_display())


def is_returned(payout: Payout) -> bool:
    return payout.status == Status.FAILED and payout.failure_reason.startswith(RETURNED_PREFIX)


def outlook(payout: Payout) -> str:
    values = {
        "attempt": payout.attempt,
        "note": payout.note or "—",
        "at": format_time(payout.due_at),
        "since": format_time(payout.pending_since),
    }
    return OUTLOOKS.get(state(payout)[0], _("Nothing.")) % values
