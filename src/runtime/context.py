"""The request that a line of the log is about."""

from contextvars import ContextVar

# Only the log reads it. What is stored gets its author as an argument.
request_id: ContextVar[str] = ContextVar("request_id", default="-")
