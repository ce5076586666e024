"""Accounts, tokens, passwords and sessions: who may call, and who is refused."""

import base64
import re
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db.models.functions import Now
from django.urls import URLPattern, get_resolver, resolve
from rest_framework.test import APIClient

from callers.limits import MAX_FAILURES, REMEMBERED_SECONDS
from callers.models import Token
from callers.tokens import REVOKED_WITHIN_SECONDS
from payouts.models import Payout
from tests.back_office import staff
from tests.local import ROOT
from tests.make import REQUEST, URL, make_payout, url_of

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def require_callers_to_identify(settings):
    settings.API_AUTH = "required"
    cache.clear()


def make_account(username="shop", **fields):
    return User.objects.create_user(username, **fields)


def make_token(username="shop", name="n", **fields):
    account = User.objects.filter(username=username).first() or make_account(username, **fields)
    return Token(user=account, name=name).issue()


def header_client(authorization, **extra):
    return APIClient(headers={"Authorization": authorization}, **extra)


def token_client(token):
    return header_client(f"Token {token}")


def password_client(username, password, **extra):
    pair = base64.b64encode(f"{username}:{password}".encode()).decode()
    return header_client(f"Basic {pair}", **extra)


@pytest.fixture
def ann():
    return make_account("ann", password=PASSWORD, is_staff=True, is_superuser=True)


# The routes that answer a stranger. None reads or writes a payout. Add a route here only on purpose.
# A gateway's notification is here because it authenticates by itself, as its provider allows, and settles nothing.
OPEN_ROUTES = {
    *("", "healthz/", "readyz/", "swagger/", r"swagger\.(?P<format>json|yaml)$", "redoc/"),
    *("api/", "admin/login/", "admin/logout/", "gateways/<str:name>/"),
}


def routes(patterns, prefix=""):
    for pattern in patterns:
        route = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLPattern):
            yield route
        else:
            yield from routes(pattern.url_patterns, route)


def path_of(route, payout):
    """A path that leads to this route."""
    path = re.sub(r"<int:\w+>", "1", route.removesuffix("$"))
    path = path.replace(r"\.(?P<format>json|yaml)", ".json").replace("(?P<url>.*)", "x")
    path = re.sub(r"<[^>]*>", str(payout.pk), re.sub(r"\(\?P<app_label>[^)]*\)", "payouts", path))
    assert resolve(f"/{path}").route.removeprefix("^") == route
    return f"/{path}"


def test_only_open_routes_answer_a_stranger(client):
    payout = make_payout()
    routes_that_answer = set()
    for route in routes(get_resolver().url_patterns):
        path = path_of(route, payout)
        for method in ("get", "post", "put", "patch", "delete", "options", "head"):
            answer = getattr(client, method)(path, REQUEST, content_type="application/json")
            assert str(payout.pk) not in answer.content.decode()
            if answer.status_code != 401 and not answer.get("Location", "").startswith("/admin/login/"):
                routes_that_answer.add(route)
    assert routes_that_answer == OPEN_ROUTES
    assert [each.status for each in Payout.objects.all()] == ["NEW"]


def settings_of(**environment):
    names = ["DEBUG", "API_AUTH", "SECURE_PROXY_SSL_HEADER", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"]
    code = f"from django.conf import settings; print([getattr(settings, name) for name in {names}])"
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return run.stdout.strip() or run.stderr.strip()


def test_callers_must_identify_unless_a_setting_opens_the_api():
    assert settings_of(SECRET_KEY="x") == "[False, 'required', None, True, True]"
    assert settings_of(DEBUG="True") == "[True, 'open', None, False, False]"
    assert settings_of(SECRET_KEY="x", API_AUTH="open").startswith("[False, 'open'")
    assert "HTTP_X_FORWARDED_PROTO" in settings_of(SECRET_KEY="x", NUM_PROXIES="1")


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("API_AUTH", "open", "API_AUTH is open"),
        ("PAYOUT_ROUTES", {"RUB": "sandbox", "*": "http"}, "PAYOUT_GATEWAY is sandbox"),
    ],
)
def test_the_checks_of_a_deployment_warn_of_settings_for_development(settings, capsys, name, value, warning):
    settings.API_AUTH, settings.PAYOUT_ROUTES = "required", {"*": "http"}
    setattr(settings, name, value)
    call_command("check", deploy=True)
    warnings = capsys.readouterr().err
    assert warning in warnings
    assert len(re.findall(r"\((?:callers|payouts)\.", warnings)) == 1


def test_an_open_api_needs_no_token(api, settings):
    settings.API_AUTH = "open"
    answer = api.post(URL, REQUEST)
    assert (answer.status_code, Payout.objects.get().caller) == (201, "")
    assert token_client("mistyped").get(URL).status_code == 401


@pytest.mark.parametrize(
    "header",
    [
        *("Token", "Token ", "Token x", "Token x y", "Token \xff", "Token \0", "token x", f"Token {'x' * 5000}"),
        *(
            "Basic",
            "Basic ",
            "Basic x y",
            "Basic !",
            "Basic eA==",
            "Basic AHg6eA==",
            "Basic eDoA",
            "Basic //8=",
            "Basic Og==",
        ),
        *("", " ", "Bearer x", "Digest", "\0"),
    ],
    ids=ascii,
)
def test_a_stranger_gets_401_in_json(ann, header):
    answer = header_client(header).post(URL, REQUEST)
    assert (answer.status_code, answer.json().keys()) == (401, {"detail"})
    assert answer["WWW-Authenticate"] == "Token"
    assert not Payout.objects.exists()


def test_a_session_cookie_with_a_null_character_counts_as_none(client):
    assert client.get(URL, headers={"Cookie": r'sessionid="' + r"\000" * 32 + '"'}).status_code == 401
    assert client.get("/admin/", headers={"Cookie": r'sessionid="' + r"\000" * 32 + '"'}).status_code == 302


def test_a_token_identifies_its_account():
    answer = token_client(make_token()).post(URL, REQUEST, headers={"X-Request-ID": "req-1"})
    payout = Payout.objects.get(pk=answer.json()["id"])
    assert (payout.caller, payout.changed_by) == ("shop", "shop req-1")


def test_a_token_is_stored_as_a_digest_only():
    token = make_token()
    assert len(token) == 64
    assert token not in str(Token.objects.values())
    assert bytes.fromhex(token) not in bytes(Token.objects.get().digest)


def test_a_revoked_token_stops_working():
    client = token_client(make_token())
    assert client.get(URL).status_code == 200
    Token.objects.all().delete()
    time.sleep(REVOKED_WITHIN_SECONDS)
    assert client.get(URL).status_code == 401


def test_a_token_is_looked_up_once_a_second(django_assert_num_queries):
    client = token_client(make_token())
    client.get(URL)
    with django_assert_num_queries(1):
        client.get(URL)


def test_the_token_of_a_locked_account_does_not_work():
    assert token_client(make_token(is_active=False)).get(URL).status_code == 401


def test_a_token_shows_when_it_was_last_used(django_assert_num_queries):
    client, other_account = token_client(make_token()), make_account("another")
    Token(user=other_account, name="unused").issue()

    def used_at():
        return Token.objects.get(name="n").used_at

    client.get(URL)
    first = used_at()
    assert first is not None
    time.sleep(REVOKED_WITHIN_SECONDS)
    with django_assert_num_queries(2):
        client.get(URL)
    assert used_at() == first
    Token.objects.filter(name="n").update(used_at=Now() - timedelta(hours=2))
    time.sleep(REVOKED_WITHIN_SECONDS)
    client.get(URL)
    assert used_at() >= first
    assert Token.objects.get(name="unused").used_at is None


def test_an_idempotency_key_belongs_to_the_account_and_not_to_its_token():
    def post(token):
        return token_client(token).post(URL, REQUEST, headers={"Idempotency-Key": "k"})

    old_token, new_token, foreign_token = make_token(name="old"), make_token(name="new"), make_token("another")
    first, foreign, replay = post(old_token), post(foreign_token), post(new_token)
    assert [answer.status_code for answer in (first, foreign, replay)] == [201, 201, 200]
    assert first.json() == replay.json()
    assert {payout.caller for payout in Payout.objects.all()} == {"shop", "another"}


def test_the_history_names_the_account():
    client, payout = token_client(make_token()), make_payout()
    client.patch(url_of(payout), {"status": "CANCELLED"}, headers={"X-Request-ID": "req-2"})
    assert client.get(f"{url_of(payout)}history/").json()["results"][-1]["changed_by"] == "shop req-2"


def test_staff_call_by_password(ann):
    assert password_client("ann", PASSWORD).post(URL, REQUEST).status_code == 201
    assert Payout.objects.get().caller == "ann"


class CountingHasher(MD5PasswordHasher):
    count = 0

    def encode(self, *args):
        CountingHasher.count += 1
        return super().encode(*args)


def test_a_right_password_is_hashed_once(settings):
    settings.PASSWORD_HASHERS = [f"{__name__}.CountingHasher"]
    make_account("ann", password=PASSWORD, is_staff=True, is_superuser=True)
    client, before = password_client("ann", PASSWORD), CountingHasher.count
    assert [client.get(URL).status_code for _ in range(10)] == [200] * 10
    assert CountingHasher.count == before + 1


@pytest.mark.parametrize("change", [{"is_active": False}, {"password": "another"}], ids=str)
def test_a_password_stops_working_once_it_changes_or_its_account_is_locked(ann, change):
    client = password_client("ann", PASSWORD)
    assert client.get(URL).status_code == 200
    User.objects.update(**change)
    assert client.get(URL).status_code == 401


def test_a_password_still_works_after_it_is_set_again(ann):
    client = password_client("ann", PASSWORD)
    assert client.get(URL).status_code == 200
    ann.set_password(PASSWORD)
    ann.save()
    assert client.get(URL).status_code == 200


def test_an_account_outside_the_staff_can_use_only_a_token():
    make_account(password=PASSWORD)
    answer = password_client("shop", PASSWORD).get(URL)
    assert (answer.status_code, answer.json().keys()) == (403, {"detail"})
    assert token_client(make_token()).get(URL).status_code == 200


PERMISSIONS_TO_READ = ["view_payout", "view_card_numbers"]


@pytest.mark.parametrize(
    ("permissions", "is_staff", "reads", "sends"),
    [
        ([], True, 403, 403),
        (["view_payout", "change_payout", "settle_payout"], True, 403, 403),
        (PERMISSIONS_TO_READ, True, 200, 403),
        ([*PERMISSIONS_TO_READ, "change_payout"], True, 200, 403),
        ([*PERMISSIONS_TO_READ, "change_payout", "settle_payout"], True, 200, 201),
        ([*PERMISSIONS_TO_READ, "change_payout", "settle_payout"], False, 403, 403),
    ],
)
def test_staff_may_do_no_more_by_the_api_than_in_the_back_office(permissions, is_staff, reads, sends):
    account = make_account("eve", password=PASSWORD, is_staff=is_staff)
    account.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = password_client("eve", PASSWORD)
    assert (client.get(URL).status_code, client.post(URL, REQUEST).status_code) == (reads, sends)


def test_staff_call_by_session_with_a_csrf_token(ann):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(ann)
    assert client.get(URL).status_code == 200
    refused = client.post(URL, REQUEST)
    assert (refused.status_code, refused.json().keys()) == (403, {"detail"})
    client.cookies["csrftoken"] = token = "x" * 32
    assert client.post(URL, REQUEST, headers={"X-CSRFToken": token}).status_code == 201
    assert Payout.objects.get().caller == "ann"


def exhaust(call):
    """Fails as often as is allowed, and then once more."""
    for _ in range(MAX_FAILURES):
        assert call().status_code in (200, 401)
    return call()


def log_in(client, username, password):
    return client.post("/admin/login/", {"username": username, "password": password})


def assert_too_many_failures(answer):
    assert (answer.status_code, answer["Retry-After"]) == (429, str(REMEMBERED_SECONDS))


def test_an_account_allows_a_limited_number_of_wrong_passwords(client, ann):
    addresses = iter(range(1, 100))
    assert_too_many_failures(
        exhaust(lambda: password_client("ann", "wrong", REMOTE_ADDR=f"10.0.0.{next(addresses)}").get(URL))
    )
    assert_too_many_failures(password_client("ann", PASSWORD, REMOTE_ADDR="10.0.1.1").get(URL))
    assert_too_many_failures(log_in(client, "ann", PASSWORD))


def test_an_address_may_try_a_limited_number_of_passwords(client, ann):
    users = iter(range(100))
    assert_too_many_failures(exhaust(lambda: log_in(client, f"user{next(users)}", "wrong")))
    assert_too_many_failures(log_in(client, "ann", PASSWORD))
    assert password_client("ann", PASSWORD, REMOTE_ADDR="10.0.0.1").get(URL).status_code == 200


def test_the_refusal_after_too_many_failures_is_in_russian(client, ann):
    russian = {"Accept-Language": "ru"}
    exhaust(lambda: log_in(client, "ann", "wrong"))
    page = client.post("/admin/login/", {"username": "ann", "password": "wrong"}, headers=russian)
    assert "charset=utf-8" in page["Content-Type"]
    detail = password_client("ann", "wrong").get(URL, headers=russian).json()["detail"]
    for message in (page.content.decode(), detail):
        assert message.startswith("Слишком много неверных паролей")


def test_no_browser_stores_the_answers_of_the_api(client, ann):
    client.force_login(ann)
    created = client.post(URL, REQUEST, "application/json")
    for answer in (created, client.get(URL), client.get(f"{URL}{Payout.objects.get().pk}/"), client.get("/api/")):
        assert answer["Cache-Control"] == "no-store"


def test_a_login_leads_to_the_start_page(client, ann):
    assert log_in(client, "ann", PASSWORD)["Location"] == "/admin/"


def test_wrong_passwords_of_others_do_not_lock_out_a_caller_who_is_in(ann):
    client = password_client("ann", PASSWORD)
    assert client.get(URL).status_code == 200
    assert_too_many_failures(exhaust(lambda: password_client("ann", "wrong").get(URL)))
    assert client.get(URL).status_code == 200


def test_wrong_tokens_do_not_lock_out_right_tokens_of_the_same_address():
    right = token_client(make_token())
    assert_too_many_failures(exhaust(lambda: token_client("wrong").get(URL)))
    assert right.get(URL).status_code == 200


def test_create_token_prints_a_token_of_a_new_account(capsys):
    call_command("create_token", "first", "--new-account", user="billing")
    printed = capsys.readouterr()
    assert printed.err == "The token first of the account billing, shown only now:\n"
    assert token_client(printed.out.strip()).get(URL).status_code == 200
    assert not User.objects.get(username="billing").has_usable_password()
    for user in ("billing", "bi\uff4cling"):
        call_command("create_token", "second", user=user)
    assert Token.objects.filter(user__username="billing").count() == 3


@pytest.mark.parametrize(
    ("user", "options", "message"),
    [
        ("biling", [], "There is no account biling. To make it, add --new-account."),
        ("bi\uff4cling", ["--new-account"], "There is an account .* already. To use it, leave out --new-account."),
    ],
)
def test_create_token_makes_no_account_by_mistake(user, options, message):
    make_account("billing")
    with pytest.raises(CommandError, match=message):
        call_command("create_token", "first", *options, user=user)
    assert (User.objects.count(), Token.objects.count()) == (1, 0)


@pytest.mark.parametrize(("name", "user"), [("n" * 101, "billing"), ("n", "u" * 151), ("n", ""), ("n\0", "billing")])
def test_create_token_refuses_a_name_that_cannot_be_stored(name, user):
    with pytest.raises(CommandError, match="No such name"):
        call_command("create_token", name, "--new-account", user=user)
    assert not User.objects.exists()


def test_the_commands_list_the_tokens_and_revoke_one(capsys):
    used, other = make_token(), make_token("billing")
    client = token_client(used)
    client.get(URL)
    call_command("list_tokens")
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines] == ["billing", "shop"]
    assert (lines[0][4], lines[1][4][:5]) == ("never used", "used ")
    assert not [secret for secret in (used, other) if secret in str(lines)]
    call_command("revoke_token", lines[1][0])
    assert capsys.readouterr().out == f"Revoked: the token {lines[1][2]} of the account shop.\n"
    time.sleep(REVOKED_WITHIN_SECONDS)
    assert client.get(URL).status_code == 401
    assert token_client(other).get(URL).status_code == 200
    with pytest.raises(CommandError, match="There is no token"):
        call_command("revoke_token", lines[1][0])


def test_the_back_office_makes_a_token_shows_it_once_and_revokes_it(admin_client):
    account = make_account()
    page = admin_client.post("/admin/callers/token/add/", {"name": "n", "user": account.pk}, follow=True)
    [token] = re.findall(r"\b[0-9a-f]{64}\b", page.content.decode())
    client = token_client(token)
    assert client.get(URL).status_code == 200
    page = admin_client.get("/admin/callers/token/").content.decode()
    assert token not in page
    assert all(column in page for column in ("shop", "column-created_at", "column-used_at"))
    admin_client.post(f"/admin/callers/token/{Token.objects.get().pk}/delete/", {"post": "yes"})
    time.sleep(REVOKED_WITHIN_SECONDS)
    assert client.get(URL).status_code == 401


@pytest.mark.parametrize("path", ["callers/token/", "auth/user/", "auth/group/"])
def test_only_superusers_see_accounts_groups_and_tokens(superuser, path):
    kind = path.split("/")[1]
    names = [f"{verb}_{kind}" for verb in ("view", "add", "change", "delete")]
    olga = staff(*names, username="olga")
    for page in (path, f"{path}add/"):
        assert (superuser.get(f"/admin/{page}").status_code, olga.get(f"/admin/{page}").status_code) == (200, 403)


def test_nobody_can_rename_an_account(superuser):
    payroll = User.objects.create_user("payroll")
    page = f"/admin/auth/user/{payroll.pk}/change/"
    assert "username" not in superuser.get(page).context["adminform"].form.fields
    date_joined = {"date_joined_0": "2026-11-21", "date_joined_1": "09:00:00"}
    form = {"username": "wages", "first_name": "Ann", "is_active": "on", **date_joined}
    assert superuser.post(page, form).status_code == 302
    payroll.refresh_from_db()
    assert (payroll.username, payroll.first_name) == ("payroll", "Ann")


@pytest.mark.parametrize("path", ["/swagger/", "/redoc/", "/swagger.json", "/swagger.yaml"])
def test_a_setting_closes_the_documentation(client, settings, path):
    settings.DOCS_AUTH = "required"
    assert client.get(path).status_code == 401
    assert token_client(make_token()).get(path).status_code == 200


def test_the_document_describes_how_to_authenticate(client):
    document = client.get("/swagger.json").json()
    schemes = {(each["type"], each.get("name")) for each in document["securityDefinitions"].values()}
    assert schemes == {("apiKey", "Authorization"), ("basic", None)}
    # A reader without a token sees every path, too.
    assert document["paths"].keys() == {"/payouts/", "/payouts/{id}/", "/payouts/{id}/history/"}
    for item in document["paths"].values():
        for method in {"get", "post", "put", "patch", "delete"} & item.keys():
            assert {"401", "403", "429"} <= item[method]["responses"].keys()
