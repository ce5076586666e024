from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from rest_framework.routers import SimpleRouter

from config import authentication, health, openapi
from config.errors import not_found
from payouts.views import PayoutViewSet

admin.autodiscover()
router = SimpleRouter(use_regex_path=False)
router.register("payouts", PayoutViewSet)

urlpatterns = [
    path("", RedirectView.as_view(url="/swagger/")),
    path("api/v1/", include(router.urls)),
    re_path("^api/", not_found),
    path("healthz/", health.healthz),
    path("readyz/", health.readyz),
    path("swagger/", openapi.view.with_ui("swagger")),
    re_path(r"^swagger\.(?P<format>json|yaml)$", openapi.view.without_ui()),
    path("redoc/", openapi.view.with_ui("redoc")),
    path("admin/login/", authentication.login),
    path("admin/", admin.site.urls),
]
handler400 = "config.errors.bad_request"
handler404 = "config.errors.not_found"
handler500 = "config.errors.server_error"
