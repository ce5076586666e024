from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from benchmarks.tutorial.views import PayoutViewSet

router = DefaultRouter()
router.register("payouts", PayoutViewSet)
urlpatterns = [path("admin/", admin.site.urls), path("api/v1/", include(router.urls))]
