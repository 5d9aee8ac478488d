"""The timeouts of a channel: for a request's head and body, for taking a response, for a lingering close."""

import time

from flaskd.engines.shared import closing
from flaskd.engines.waitress_engine.channel import Channel
from flaskd.http.bodies import MinRateTimeout
from flaskd.http.syntax import Refused


def check_timeouts(channel: Channel, pause: float) -> float:
    """Apply the timeouts; returns when to check again: after `pause` if that depends on the client's speed."""
    now = time.monotonic()
    options = channel.loop.options
    if channel.total_outbufs_len:
        _check_write_timeout(channel, now)
        return now + pause
    channel.write_timeout = None
    if channel.lingering is not None:
        end = min(channel.since + closing.LINGERING_TIMEOUT, channel.lingering + closing.LINGERING_TIME)
        if now >= end:
            channel.handle_close()
        return end
    if channel.requests:
        return now + options.head_timeout
    request = channel.receiving_body()
    if request is not None:
        end = request.since + request.timeout.remaining
        if now >= end:
            channel.refuse(request, Refused(408, "The request's body did not come in time"))
        return end
    end = channel.since + options.head_timeout
    if now >= end:
        channel.close_idle()
    return end


def _check_write_timeout(channel: Channel, now: float) -> None:
    """Reset the connection if the client takes its response too slowly."""
    before, sent = channel.write_checked
    channel.write_checked = now, channel.sent
    if channel.write_timeout is None:
        channel.write_timeout = MinRateTimeout(channel.loop.options.write_timeout)
    else:
        channel.write_timeout.transferred(channel.sent - sent, now - before)
    if channel.write_timeout.remaining <= 0:
        channel.abort()
