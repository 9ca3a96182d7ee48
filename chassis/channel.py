"""Channels to other programs: mTLS, the other end's role checked, renewals followed."""

import json

import grpc
from grpc import aio

from chassis.tls import Identity

SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
)

MAX_MESSAGE_BYTES = 8 << 20
MOST_RETRY_S = 5.0


class Channel:
    """A channel to one kind of program, made anew when our own certificate was renewed."""

    def __init__(
        self, address: str, identity: Identity, role: str, retry_s: float = MOST_RETRY_S
    ) -> None:
        """Reach the program with `role` at `address` ("host:port" or "dns:///name:port").

        Args:
            address: where it listens.
            identity: our own certificate.
            role: the role its certificate must have, e.g. "store".
            retry_s: longest pause between two tries to connect.
        """
        self._retry_s = min(retry_s, MOST_RETRY_S)
        self._address, self._identity, self._role = address, identity, role
        self._channel: aio.Channel | None = None
        self._stamp: tuple[int, int] | None = None
        self._old: list[aio.Channel] = []

    def get(self) -> aio.Channel:
        """Return the channel in force. Ask anew for each call; calls on the old one may finish."""
        stamp = self._identity.stamp()
        if self._channel is None or stamp != self._stamp:
            if self._channel is not None:
                self._old.append(self._channel)
            credentials = self._identity.channel_credentials()
            self._channel = open_channel(self._address, credentials, self._role, self._retry_s)
            self._stamp = stamp
        return self._channel

    async def close(self) -> None:
        """Close every channel that was made."""
        for channel in (*self._old, *filter(None, [self._channel])):
            await channel.close()
        self._old.clear()
        self._channel = None


def open_channel(
    address: str, credentials: grpc.ChannelCredentials, role: str, retry_s: float = MOST_RETRY_S
) -> aio.Channel:
    """Open a channel; the server must prove `role`."""
    return aio.secure_channel(
        address,
        credentials,
        options=[
            ("grpc.ssl_target_name_override", f"{role}.nightherd"),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", int(retry_s * 1000)),
            ("grpc.service_config", SERVICE_CONFIG),
        ],
    )
