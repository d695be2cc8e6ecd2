"""Whoever sends: programs that know nothing of us, each with its broker's own library."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kck_flow.testing.sources import Outgoing


def send_amqp(
    url: str,
    routing_key: str,
    messages: Sequence[Outgoing],
    *,
    exchange: str = "",
    properties: Mapping[str, Any] | None = None,
    declare: str = "",
) -> None:
    """Publish to an exchange, by default to the queue of that name; returns once the broker has confirmed them."""
    import kombu

    with kombu.Connection(f"py{url}", transport_options={"confirm_publish": True}) as connection:
        channel = connection.channel()
        if declare:
            channel.queue_declare(declare, durable=True, auto_delete=False)
        import amqp

        for message in messages:
            given = {"message_id": message.id, "timestamp": int(time.time()), **(properties or {})}
            channel.basic_publish(
                amqp.Message(
                    message.payload,
                    delivery_mode=2,
                    **{name: value for name, value in given.items() if value is not None},
                ),
                exchange,
                routing_key,
            )


def send_redis(url: str, stream: str, messages: Sequence[Outgoing]) -> None:
    """Append entries with a field for the body and one for the id."""
    import redis

    with redis.Redis.from_url(url) as client, client.pipeline() as pipeline:
        for message in messages:
            pipeline.xadd(stream, {"body": message.payload, "id": message.id})
        pipeline.execute()


def send_nats(
    url: str, subject: str, messages: Sequence[Outgoing], *, stream: str = "", duplicate_window: float = 120
) -> None:
    """Publish, and wait until the stream has them; first make the stream, where it is named."""
    import nats

    async def send() -> None:
        client = await nats.connect(url)
        jetstream = client.jetstream(timeout=30)
        if stream:
            await jetstream.add_stream(name=stream, subjects=[subject], duplicate_window=duplicate_window)
        for message in messages:
            headers = {"Nats-Msg-Id": message.id} if message.id else None
            await jetstream.publish(subject, message.payload, headers=headers)
        await client.close()

    asyncio.run(send())
