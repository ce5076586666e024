from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from rest_framework.routers import SimpleRouter

from callers import sessions
from payouts.api import openapi
from payouts.api.views import PayoutViewSet
from payouts.gateways.notifications import notification
from payouts.metrics import InFlight
from runtime import health
from runtime.errors import not_found
from runtime.metrics import TABLE_METRICS

admin.autodiscover()
TABLE_METRICS.register(InFlight())
router = SimpleRouter(use_regex_path=False)
router.register("payouts", PayoutViewSet)

urlpatterns = [
    path("", RedirectView.as_view(url="/swagger/")),
    path("api/v1/", include(router.urls)),
    re_path("^api/", not_found),
    path("gateways/<str:name>/", notification),
    path("healthz/", health.healthz),
    path("readyz/", health.readyz),
    path("swagger/", openapi.view.with_ui("swagger")),
    re_path(r"^swagger\.(?P<format>json|yaml)$", openapi.view.without_ui()),
    path("redoc/", openapi.view.with_ui("redoc")),
    path("admin/login/", sessions.login),
    path("admin/", admin.site.urls),
]
handler400 = "runtime.errors.bad_request"
handler404 = "runtime.errors.not_found"
handler500 = "runtime.errors.server_error"
