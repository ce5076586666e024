"""The back office's export of a list."""

import csv
import io

import pytest
from django.db import ProgrammingError, connection

from payouts.admin.export import PAGE_SIZE
from tests.back_office import LIST, read_export
from tests.make import make_payout, multiply

pytestmark = pytest.mark.django_db


def test_an_export_has_every_payout_and_no_formula(superuser):
    multiply(make_payout(recipient_details={"a": ";=1"}, comment='=1+1;-2;"=3";"a'), PAGE_SIZE)
    lines = read_export(superuser)
    for export in (lines, read_export(superuser, "o=5")):
        assert len({line["id"] for line in export}) == PAGE_SIZE + 1
    assert {line["recipient_details"] for line in lines} == {"""{"a": ";'=1"}"""}
    # Some spreadsheets split a line at its semicolons.
    text = superuser.get(f"{LIST}export/").getvalue().decode()
    cells = {cell for line in csv.reader(io.StringIO(text), delimiter=";") for cell in line}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_an_export_that_breaks_off_says_so(superuser):
    multiply(make_payout(), PAGE_SIZE)
    lines = iter(superuser.get(f"{LIST}export/", headers={"Accept-Language": "ru"}))
    assert [next(lines) for _payout in range(PAGE_SIZE + 1)]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payouts_payout RENAME TO gone")
    assert next(lines).decode() == "Выгрузка неполная.\r\n"
    with pytest.raises(ProgrammingError):
        next(lines)
