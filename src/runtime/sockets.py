"""What the system knows of an idle connection."""

import select


def has_unread_data(descriptor: int) -> bool:
    """Whether the other end has sent something that nobody has read, or has closed the connection."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
