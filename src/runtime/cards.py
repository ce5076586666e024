"""Card numbers: how a text with one is recognised, and what is shown of it."""

import re
from typing import Any

# People and URLs put spaces, hyphens, %20 and the like between the digits. A dot ends the number, because the numbers
# of an IP address have dots between them. PostgreSQL reads this expression, too.
CARD_NUMBER = r"\d(?:(?:[\s\-\u00a0\u00ad\u2000-\u206f\u3000]|%[0-9A-Fa-f]{2}){0,9}\d){11,18}|\d{4}(?:\+\d{4}){3}"
# One UUID in eighteen has as many digits in a row as a card number. Such a UUID stays as it is.
# 32 digits without a letter are two card numbers, not a UUID.
UUID = r"\b(?!\d{8}-?(?:\d{4}-?){3}\d{12}\b)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b"
UUID_OR_CARD_NUMBER = re.compile(f"({UUID})|{CARD_NUMBER}")


def mask_text(text: str) -> str:
    """Shows only the last four digits of a card number. Gateways quote the card, and PostgreSQL quotes the row."""
    return UUID_OR_CARD_NUMBER.sub(lambda match: match[1] or f"**** {match[0][-4:]}", text)


def mask(value: Any) -> Any:
    """The same for any JSON value."""
    if isinstance(value, dict):
        return {mask(key): mask(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mask(item) for item in value]
    text = mask_text(str(value))
    return value if text == str(value) else text
