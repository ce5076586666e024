"""
The reference gateway: a process that speaks the contract of the generic HTTP gateway, keeps a ledger by key, and
misbehaves on demand.

    python -m tests.gateway PORT [CERTIFICATE]

`POST /payments` pays, and `GET /payments?key=…` or `?reference=…` looks. `GET /ledger` answers what was booked.
`PUT /behaviour` changes its manner, its moods and more: `behaviour.py` has them all. A payment whose
`recipient_details` have a `mood` meets that one.
"""

import sys

from tests.gateway.server import Gateway

if __name__ == "__main__":
    Gateway(*sys.argv[1:]).serve_forever()
