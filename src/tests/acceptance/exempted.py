"""What Swagger 2.0 cannot say, so that Schemathesis must not ask for it."""

import json
from urllib.parse import urlencode

import schemathesis

# Well within the limits of the recipient's details; test_bad_input.py goes to the limits.
SHORT, SHALLOW = 4000, 20
# Gunicorn refuses a longer request line by itself, and in HTML.
LINE = 3800


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def has_big_details(body):
    details = body.get("recipient_details")
    return len(json.dumps(details)) > SHORT or depth(details) > SHALLOW


def has_number_of_two_types(body):
    """An amount may be a number, and a user's number may be text."""
    amount, user = body.get("amount"), body.get("user_id")
    return (isinstance(amount, int | float) and amount > 0) or isinstance(user, str)


def has_text_to_trim(body):
    """White space around a text is dropped before its length counts."""
    return any(isinstance(text, str) and text != text.strip() for text in body.values())


def has_query_that_is_taken_all_the_same(query):
    """A page's size is coerced, whatever it is. Of a parameter that comes twice the last one counts."""
    return "page_size" in query or any(isinstance(value, list) for name, value in query.items() if name != "status")


@schemathesis.hook
def filter_case(context, case):
    body, negative = case.body if isinstance(case.body, dict) else {}, case.meta.generation.mode.is_negative
    taken = has_number_of_two_types(body) or has_text_to_trim(body)
    if negative and (taken or has_query_that_is_taken_all_the_same(case.query or {})):
        return False
    return not has_big_details(body) and len(urlencode(case.query or {}, doseq=True)) < LINE


@schemathesis.hook
def before_call(context, case, kwargs):
    """Which pages there are, and the cursors that lead to them, only an answer says."""
    if case.meta and case.meta.generation.mode.is_positive and case.query:
        case.query.pop("page", None)
        case.query.pop("cursor", None)


@schemathesis.hook
def after_call(context, case, response):
    """An operation produces JSON, but 204 is an answer without a body."""
    if response.status_code == 204:
        response.headers.setdefault("content-type", ["application/json"])
