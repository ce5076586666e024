import secrets
from datetime import timedelta
from hashlib import sha256

from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

# `used_at` is not written more often than this, because a write for each request would cost more than the request.
USED_AT_PRECISION = timedelta(hours=1)


def hash_secret(secret: str) -> bytes:
    """SHA-256 is enough: nobody guesses 32 random bytes."""
    return sha256(secret.encode()).digest()


class Token(models.Model):
    user = models.ForeignKey(User, models.CASCADE, verbose_name=_("account"))
    name = models.CharField(_("name"), max_length=100)
    digest = models.BinaryField(unique=True)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)
    used_at = models.DateTimeField(_("last used"), null=True, editable=False)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")

    def __str__(self) -> str:
        return self.name

    def issue(self) -> str:
        """Saves the token and returns its secret, which nobody can read again."""
        secret = secrets.token_hex(32)
        self.digest = hash_secret(secret)
        self.save()
        return secret

    @classmethod
    def find(cls, secret: str) -> tuple[User, int] | None:
        """The account that the secret belongs to, and the token's id."""
        token = cls.objects.select_related("user").filter(digest=hash_secret(secret), user__is_active=True).first()
        if token is None:
            return None
        if not token.used_at or token.used_at < now() - USED_AT_PRECISION:
            cls.objects.filter(pk=token.pk).update(used_at=Now())
        return token.user, token.pk
