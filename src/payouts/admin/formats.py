"""How the pages write times and amounts."""

from datetime import datetime
from decimal import Decimal

from django.utils.formats import number_format
from django.utils.timezone import localtime


def format_time(value: datetime | None) -> str:
    return f"{localtime(value):%Y-%m-%d %H:%M:%S}" if value else ""


def format_money(amount: Decimal, currency: str) -> str:
    return f"{number_format(amount, 2, force_grouping=True)}\u00a0{currency}"
