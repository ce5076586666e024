"""One payout after the other through an API and a worker on the broker of the tests."""

from concurrent.futures import ThreadPoolExecutor

from payouts.gateways.sandbox import REFUSED_NUMBER, UNKNOWN_NUMBER
from tests.acceptance.service import call, wait_until

CLIENT_COUNT, PAYOUT_COUNT = 8, 200


def test_a_payout_is_paid(service):
    payout = service.wait_for(service.post(), "COMPLETED")
    assert payout["attempt"] == 1
    assert payout["processed_at"] > payout["created_at"]


def test_a_refused_payout_has_a_reason(service):
    payout = service.wait_for(service.post(recipient_details={"number": REFUSED_NUMBER}), "FAILED")
    assert payout["failure_reason"] == "The sandbox refuses this card."


def test_a_payout_of_unknown_outcome_stays_processing(service):
    payout = service.wait_for(service.post(recipient_details={"number": UNKNOWN_NUMBER}), "PROCESSING")
    doubt = {"message": "outcome unknown: the sandbox does not say", "outcome": "unknown", "attempt": 1}
    wait_until(lambda: service.log_lines(payout=payout["id"], **doubt))
    assert call("DELETE", f"{service.payouts}{payout['id']}/").status == 409


def test_a_failed_payout_is_corrected_and_paid(service):
    payout = service.wait_for(service.post(recipient_details={"number": REFUSED_NUMBER}), "FAILED")
    answer = call("PATCH", f"{service.payouts}{payout['id']}/", {"status": "NEW", "recipient_details": {"number": "1"}})
    assert answer.status == 200
    assert service.wait_for(payout, "COMPLETED")["attempt"] == 2


def test_every_payout_is_claimed_once_although_its_message_comes_three_times(service):
    def post_and_ring(_number):
        payout = service.post()
        service.ring(payout["id"], payout["id"])
        return payout["id"]

    with ThreadPoolExecutor(CLIENT_COUNT) as clients:
        ids = list(clients.map(post_and_ring, range(PAYOUT_COUNT)))

    def completed():
        query = "SELECT count(*) FROM payouts_payout WHERE id = ANY(%s) AND status = 'COMPLETED'"
        return service.database.rows(query, ids) == [(PAYOUT_COUNT,)]

    wait_until(completed, 60)
    # The worker has read all earlier messages once it has paid this payout.
    last = service.post()
    service.ring(*[last["id"]] * 8)
    service.wait_for(last, "COMPLETED")
    attempts = service.database.rows("SELECT attempt, count(*) FROM payouts_payout WHERE id = ANY(%s) GROUP BY 1", ids)
    assert attempts == [(1, PAYOUT_COUNT)]


def test_of_24_posts_at_once_with_one_key_one_is_paid(service):
    request = {"amount": "1", "currency": "USD", "recipient_details": {"a": 1}, "comment": "once"}

    def post(_number):
        return call("POST", service.payouts, request, **{"Idempotency-Key": "once"})

    with ThreadPoolExecutor(24) as clients:
        answers = list(clients.map(post, range(24)))
    assert sorted(answer.status for answer in answers) == [200] * 23 + [201]
    service.wait_for(answers[0].json(), "COMPLETED")
    query = "SELECT status, attempt FROM payouts_payout WHERE idempotency_key = 'once'"
    assert service.database.rows(query) == [("COMPLETED", 1)]


def test_the_worker_logs_the_id_of_the_request(service):
    payout = call(
        "POST",
        service.payouts,
        {"amount": "1", "currency": "USD", "recipient_details": {"number": "5555444433332222"}},
        **{"X-Request-ID": "acceptance-7"},
    ).json()
    service.wait_for(payout, "COMPLETED")
    lines = wait_until(lambda: len(lines := service.log_lines(request_id="acceptance-7")) == 2 and lines)
    [paid] = [line for line in lines if line["logger"] == "payouts.tasks"]
    assert (paid["payout"], paid["outcome"], paid["attempt"]) == (payout["id"], "paid", 1)
    # Celery logs nothing of its own about the payout.
    assert [line for line in service.log_lines() if payout["id"] in line["message"]] == []
    [access] = [line for line in lines if line["logger"] == "access"]
    assert (access["method"], access["path"], access["status"]) == ("POST", "/api/v1/payouts/", 201)


def test_a_thread_answers_each_request_in_its_own_language(own_service):
    # One thread answers both requests.
    own_service.start_api(WEB_CONCURRENCY="1", API_THREADS="1")
    for headers, message in ({"Accept-Language": "ru"}, "Обязательное поле."), ({}, "This field is required."):
        assert call("POST", own_service.payouts, {"currency": "RUB"}, **headers).json()["amount"] == [message]
