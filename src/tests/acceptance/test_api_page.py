"""docs/api.md, typed from its top to its end into one shell: each answer is the one that the page shows."""

import os
import re
import subprocess
import sys

import pytest

from tests.acceptance.service import deployed, wait_until
from tests.local import ROOT

PAGE = (ROOT / "docs/api.md").read_text()
BLOCKS = re.findall(r"^```(sh|http|json|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ID = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
# What is another one each time. The dots stand for whatever is left out.
VARYING = {
    r"01a1fcaf\\-a016\\-7176\\-b7af\\-bb375d1fea01": ID,
    r"2026\\-11\\-21T09:00:00\\\.123456Z": r"[\\d\\-]{10}T[\\d:.]{8,15}Z",
    "9f7c9442f8a0480ea667a57ed4c5f962": "[0-9a-f]{32}",
    r"https://payouts\\\.example\\\.com": "http://127.0.0.1:\\\\d+",
    "…": ".*",
}


@pytest.fixture(scope="module")
def shell(migrated_database):
    with deployed(migrated_database, API_AUTH="required") as service:
        service.start_api()
        service.start_worker()
        token = service.manage("create_token", "november", "--user", "payroll").stdout.strip()
        yield {**os.environ, "API": service.payouts, "AUTH": f"Authorization: Token {token}", "ID": ""}


def run(*command, environment):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.replace("\r\n", "\n")


def pattern(shown):
    """Of an answer without its spaces."""
    escaped = re.escape(re.sub(r"\s", "", shown))
    for text, varying in VARYING.items():
        escaped = re.sub(text, varying, escaped)
    return escaped


def is_shown(kind, shown, answer):
    if kind == "json":
        return bool(re.fullmatch(pattern(shown), re.sub(r"\s", "", answer)))
    # Headers that the page leaves out may stand between those that it shows.
    head, _, body = answer.partition("\n\n")
    lines, _, shown_body = shown.partition("\n\n")
    headers = {re.sub(r"\s", "", line) for line in head.splitlines()}
    named = all(any(re.fullmatch(pattern(line), header) for header in headers) for line in lines.splitlines())
    return named and bool(re.fullmatch(pattern(shown_body), re.sub(r"\s", "", body)))


def commands():
    """Each command, with the answer that the page shows behind it, if it shows one."""
    for (kind, text), (next_kind, shown) in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        is_placeholder = text.startswith(("export ", "docker "))
        if kind in ("sh", "python") and not is_placeholder:
            yield kind, text, (next_kind, shown) if next_kind in ("http", "json") else None


def answer_to(kind, command, expected, environment):
    """A worker takes its time: what may be repeated is, until the answer is the one that the page shows."""
    program = [sys.executable, "-c"] if kind == "python" else ["bash", "-euc"]
    answers = [run(*program, command, environment=environment)]

    def has_come():
        if not is_shown(*expected, answers[-1]):
            answers.append(run(*program, command, environment=environment))
        return is_shown(*expected, answers[-1])

    if expected and "-d '" not in command:
        wait_until(has_come)
    assert not expected or is_shown(*expected, answers[-1]), f"{command}\n{answers[-1]}"
    return answers[-1]


def test_the_page_is_true(shell):
    made = list(commands())
    assert len(made) > 10
    for command in made:
        answer = answer_to(*command, shell)
        if found := re.search(f'"id": ?"({ID})"', answer):
            shell["ID"] = found[1]
