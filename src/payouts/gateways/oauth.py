"""Calls with an access token that a provider gives for the client's id and secret, for a while (OAuth 2.0)."""

import threading

from payouts.gateways import CallError, absent, unknown
from payouts.gateways.client import Client, Reply, basic
from payouts.models import Payout
from runtime.clock import clock

# A token is renewed so long before it expires.
EARLY_SECONDS = 60


class Token:
    """All threads share it. One of them asks for it, and the others wait."""

    def __init__(self, url: str, user: str, secret: str) -> None:
        self.url, self.client = url, Client()
        self.headers = [basic(user, secret), "Content-Type: application/x-www-form-urlencoded"]
        self.lock = threading.Lock()
        self.value, self.renew_at = "", 0.0

    def get(self, payout: Payout) -> str:
        if not self.lock.acquire(timeout=max(0, payout.deadline - clock())):
            raise CallError(unknown("nobody got one in time"))
        try:
            if clock() >= self.renew_at:
                self._renew(payout)
            return self.value
        finally:
            self.lock.release()

    def drop(self, value: str) -> None:
        """It has died before its time."""
        if value == self.value:
            self.renew_at = 0

    def _renew(self, payout: Payout) -> None:
        reply = self.client.call(payout, self.url, self.headers, "grant_type=client_credentials")
        # Another thread asks next time, hours later.
        self.client.hang_up()
        match reply.fields:
            case {"access_token": str(value), "expires_in": int(seconds)}:
                self.value, self.renew_at = value, clock() + max(seconds - EARLY_SECONDS, seconds / 2)
            case _:
                raise CallError(unknown(f"HTTP {reply.code} {reply.fields.get('error', '')}"))


class OAuthClient(Client):
    def __init__(self, token: Token) -> None:
        self.token = token

    def call(
        self, payout: Payout, url: str, headers: list[str], body: str | None = None, *, until: float | None = None
    ) -> Reply:
        token = self._token(payout, body)
        reply = super().call(payout, url, [f"Authorization: Bearer {token}", *headers], body, until=until)
        if reply.code != 401:
            return reply
        # A token may die before its time; but a proxy may have said so after the fact.
        self.token.drop(token)
        payout.was_doubted = True
        token = self._token(payout, body)
        return super().call(payout, url, [f"Authorization: Bearer {token}", *headers], body, until=until)

    def _token(self, payout: Payout, body: str | None) -> str:
        try:
            return self.token.get(payout)
        except CallError as error:
            # Without a token nothing was sent.
            note = f"no access token: {error}"
            raise CallError(absent(note) if body else unknown(note)) from error
