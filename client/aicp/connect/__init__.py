"""`aicp connect`: MCP on stdin and stdout for clients that start local servers, MCP over WebSocket to a hub.

The way of a message: `lines` reads it from the client, `relay` decides what becomes of it, `bridge` sends it to the
hub.
"""
