"""Health check of the container: exits with 1 while the server starts, or does not answer.

A server that is full or drains is healthy: to restart it would help nobody.
"""

import http.client
import json
import os
import sys

connection = http.client.HTTPConnection(
    "127.0.0.1", int(os.environ.get("WSSERVER_PORT", "8765")), timeout=4
)
try:
    connection.request("GET", "/api/v1/websocket/health")
    status = json.load(connection.getresponse())["status"]
except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
    sys.exit(f"no answer: {error}")
print(status)
sys.exit(1 if status == "starting" else 0)
