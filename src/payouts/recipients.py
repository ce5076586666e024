"""Recipients that can be checked: which fields each type of them has, and what these look like."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy


def passes_luhn(number: str) -> bool:
    """The last digit of a card's number is made of the others, so that a typing error shows."""
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


class Form(NamedTuple):
    pattern: str
    says: Any
    check: Callable[[str], bool] = bool


CARD = Form(
    "[0-9]{16,19}", gettext_lazy("16 to 19 digits without spaces, the last of which fits the others"), passes_luhn
)
TOKEN = Form("[!-~]{1,255}", gettext_lazy("1 to 255 characters without spaces"))
RUSSIAN_PHONE = Form(r"\+?7[0-9]{10}", gettext_lazy("a Russian number with all of its 11 digits, such as 79001234567"))
BANK = Form("[0-9A-Za-z]{12}", gettext_lazy("the 12 characters of the bank's id in the SBP"))
WALLET = Form("[0-9]{11,33}", gettext_lazy("11 to 33 digits"))
EMAIL = Form(
    r"(?=.{3,127}$)[!-?A-~]+@[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)+", gettext_lazy("an address of at most 127 characters")
)
PHONE = Form(r"\+[0-9]{7,15}", gettext_lazy("+ and 7 to 15 digits, such as +14155550100"))
PAYPAL_ID = Form("[0-9A-Z]{13}", gettext_lazy("the 13 characters of a PayPal account"))

TYPES: dict[str, dict[str, Form]] = {
    "card": {"number": CARD},
    "token": {"token": TOKEN},
    "sbp": {"phone": RUSSIAN_PHONE, "bank_id": BANK},
    "yoomoney": {"account": WALLET},
    "paypal": {"email": EMAIL, "phone": PHONE, "paypal_id": PAYPAL_ID},
}
# Of these it has one field. Others have all of theirs.
HAS_ONE = {"paypal"}


def faults(details: Mapping[str, Any], types: tuple[str, ...]) -> list[str]:
    """What is wrong with a recipient that must be one of these types, each fault with the name of its field."""
    kind = details.get("type")
    if kind not in types:
        return [_("type: must be one of %s.") % ", ".join(types)]
    forms, given = TYPES[kind], details.keys() - {"type"}
    unknown = [_("%s: there is no such field.") % name for name in sorted(given - forms.keys())]
    if kind in HAS_ONE:
        missing = (
            [] if len(given & forms.keys()) == 1 else [_("%s: exactly one of these is needed.") % ", ".join(forms)]
        )
    else:
        missing = [_("%s: this field is needed.") % name for name in forms if name not in given]
    wrong = [f"{name}: {form.says}." for name, form in forms.items() if name in given and not fits(details[name], form)]
    return [*unknown, *missing, *wrong]


def fits(value: object, form: Form) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(form.pattern, value)) and form.check(value)
