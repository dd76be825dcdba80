"""The face: command line, settings, and the MCP tools over SSE and Streamable HTTP."""
