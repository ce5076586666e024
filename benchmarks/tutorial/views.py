import uuid

from rest_framework import serializers, viewsets

from benchmarks.tutorial.models import Payout
from benchmarks.tutorial.tasks import process


def request_id(get_response):
    def middleware(request):
        request.id = request.headers.get("X-Request-ID") or uuid.uuid4().hex
        response = get_response(request)
        response["X-Request-ID"] = request.id
        return response

    return middleware


class PayoutSerializer(serializers.ModelSerializer):
    class Meta:
        model = Payout
        exclude = ("due_at", "changed_by")
        read_only_fields = ("status", "failure_reason", "gateway_reference", "attempt", "processed_at")

    def validate_recipient_details(self, details):
        if not isinstance(details, dict) or not details:
            raise serializers.ValidationError("Must be a JSON object that is not empty.")
        return details


class PayoutViewSet(viewsets.ModelViewSet):
    queryset = Payout.objects.all()
    serializer_class = PayoutSerializer
    filterset_fields = ("status", "currency", "user_id")
    search_fields = ("comment",)

    def perform_create(self, serializer):
        payout = serializer.save(changed_by=f"api {self.request.id}")
        process.delay(str(payout.pk))
