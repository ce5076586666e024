"""What the pages call a payout's state, and what they say happens next."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from payouts.admin.formats import format_time
from payouts.machine import Status
from payouts.models import Payout

DELETED = ""
DOUBT = "DOUBT"
# Without a colour Unfold would show the code of a status, not its label.
COLOURS = dict.fromkeys((DELETED, *Status)) | {
    Status.NEW: "info",
    DOUBT: "warning",
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
    DELETED: _("It was deleted: no worker pays it."),
}


def state(payout: Payout) -> tuple[str, Any]:
    """Its code and its name."""
    if payout.deleted_at:
        return DELETED, _("Deleted")
    if payout.is_in_doubt:
        return DOUBT, _("Outcome unknown")
    return payout.status, payout.get_status_display()


def outlook(payout: Payout) -> str:
    values = {"attempt": payout.attempt, "note": payout.note or "—", "at": format_time(payout.due_at)}
    return OUTLOOKS.get(state(payout)[0], _("Nothing.")) % values
