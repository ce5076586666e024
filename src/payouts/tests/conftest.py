from datetime import timedelta

import pytest
from rest_framework.test import APIClient


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def hour() -> timedelta:
    return timedelta(hours=1)
