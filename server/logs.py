"""How the log looks: a lower-case event, then facts as keys; for people on a terminal, as JSON elsewhere."""

import logging
import sys

import structlog

from server.settings import Settings

# Loggers of the libraries that repeat what this project's own lines say, or would tell what clients sent.
HTTP = ("httpx", "httpcore", "httpcore2", "httpx2", "python_multipart", "uvicorn.access", "uvicorn.asgi")
QUIET = (*HTTP, "mcp", "websockets", "sse_starlette")
# Its warnings are a line for each request of a stranger, who is told why; an operator who looks sees them.
STRANGERS = "mcp.server.transport_security"


def set_up_logs(settings: Settings) -> None:
    """Send this project's log and the libraries' warnings to standard error."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer = (
        # The library's own traceback shows every local variable, tokens among them.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else structlog.processors.JSONRenderer()
    )
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not console:
        shared.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level, handlers=[lines], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(STRANGERS).setLevel(logging.WARNING if level <= logging.DEBUG else logging.ERROR)
