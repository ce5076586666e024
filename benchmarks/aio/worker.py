"""What one would write in asyncio for a slow provider: the same two guarded UPDATEs, late acks, a log."""

import asyncio
import json
import os
import sys

import aio_pika
import aiohttp
import asyncpg  # type: ignore[import-untyped]
import uvloop

IN_FLIGHT = int(os.environ["CELERY_CONCURRENCY"])
CLAIM = """
UPDATE payouts_payout SET status = 'PROCESSING', attempt = attempt + 1, due_at = now() + interval '1 minute',
       updated_at = now()
 WHERE id = $1 AND status = 'NEW' RETURNING gateway_key::text AS key, amount::text, currency, attempt"""
FINISH = """
UPDATE payouts_payout SET status = 'COMPLETED', due_at = NULL, gateway_reference = $3, processed_at = now(),
       updated_at = now()
 WHERE id = $1 AND status = 'PROCESSING' AND attempt = $2"""


async def main() -> None:
    names = {"host": "DB_HOST", "port": "DB_PORT", "user": "DB_USER", "password": "DB_PASSWORD", "database": "DB_NAME"}
    settings = {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}
    pool = await asyncpg.create_pool(**settings, min_size=1, max_size=int(os.environ["DB_CONNECTIONS"]))
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    broker = await aio_pika.connect(os.environ["CELERY_BROKER_URL"])
    channel = await broker.channel()
    await channel.set_qos(prefetch_count=IN_FLIGHT)
    queue = await channel.get_queue(os.environ["CELERY_TASK_DEFAULT_QUEUE"])

    async def process(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            payout_id = json.loads(message.body)[0][0]
            payout = await pool.fetchrow(CLAIM, payout_id)
            if payout:
                headers = {"Idempotency-Key": payout["key"]}
                async with session.post(os.environ["PROVIDER_URL"], json=dict(payout), headers=headers) as response:
                    answer = await response.json()
                if answer["key"] == payout["key"] and answer["status"] == "paid":
                    await pool.execute(FINISH, payout_id, payout["attempt"], answer["reference"])
                    sys.stdout.write(json.dumps({"message": "finished", "payout": payout_id}) + "\n")

    await queue.consume(process)
    # Until it is killed.
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main())
