"""Hooks for Schemathesis: they keep it from testing what Swagger 2.0 cannot describe."""

import json
from urllib.parse import urlencode

import schemathesis

# Well below the limits of the recipient's details. test_api_bad_input.py tests the limits themselves.
DETAILS_LENGTH, DETAILS_DEPTH = 4000, 20
# Gunicorn itself refuses a longer request line, and answers in HTML.
QUERY_LENGTH = 3800


def depth(value):
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(depth, items), default=0)


def has_big_details(body):
    details = body.get("recipient_details")
    return len(json.dumps(details)) > DETAILS_LENGTH or depth(details) > DETAILS_DEPTH


def has_number_of_two_types(body):
    """The API takes an amount as a number, and a user's number as text. The document names one type each."""
    amount, user = body.get("amount"), body.get("user_id")
    return (isinstance(amount, int | float) and amount > 0) or isinstance(user, str)


def has_text_to_trim(body):
    """The API drops white space around a text before it checks the length."""
    return any(isinstance(text, str) and text != text.strip() for text in body.values())


def has_tolerated_query(query):
    """The API corrects any size of a page. Of a parameter that comes twice it takes the last one."""
    return "page_size" in query or any(isinstance(value, list) for name, value in query.items() if name != "status")


@schemathesis.hook
def filter_case(context, case):
    body, negative = case.body if isinstance(case.body, dict) else {}, case.meta.generation.mode.is_negative
    is_tolerated = has_number_of_two_types(body) or has_text_to_trim(body) or has_tolerated_query(case.query or {})
    if negative and is_tolerated:
        return False
    return not has_big_details(body) and len(urlencode(case.query or {}, doseq=True)) < QUERY_LENGTH


@schemathesis.hook
def before_call(context, case, kwargs):
    """Drops `page` and `cursor`: only an answer tells which pages and cursors exist."""
    if case.meta and case.meta.generation.mode.is_positive and case.query:
        case.query.pop("page", None)
        case.query.pop("cursor", None)


@schemathesis.hook
def after_call(context, case, response):
    """Adds the documented content type to a 204, which has no body and so no type."""
    if response.status_code == 204:
        response.headers.setdefault("content-type", ["application/json"])
