"""The MCP protocol engine: bytes and facts in, bytes and actions out. It touches no socket, no bus and no clock."""
