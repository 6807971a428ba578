"""FastAPI on uvicorn: the ``ConnectionManager`` of FastAPI's documentation."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import uuid
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from tornado.netutil import bind_sockets


class ConnectionManager:
    """Keeps who is there."""

    def __init__(self) -> None:
        self.active_connections: list[WebSocket] = []

    async def connect(self, websocket: WebSocket) -> None:
        """Let a client in."""
        await websocket.accept()
        self.active_connections.append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        """Forget a client."""
        self.active_connections.remove(websocket)

    async def broadcast(self, message: str) -> int:
        """Send to one after the other."""
        sent = 0
        for connection in self.active_connections:
            await connection.send_text(message)
            sent += 1
        return sent


app = FastAPI()
manager = ConnectionManager()


@app.websocket("/ws")
async def chat(websocket: WebSocket) -> None:
    """Answer pings until the client goes."""
    await manager.connect(websocket)
    try:
        while True:
            message = await websocket.receive_json()
            if message.get("type") == "ping":
                await websocket.send_json({"type": "pong"})
    except WebSocketDisconnect:
        manager.disconnect(websocket)


@app.post("/broadcast")
async def broadcast(body: dict[str, Any]) -> dict[str, int]:
    """Send what was posted to everybody, with an id and a time."""
    stamp = {"id": uuid.uuid4().hex, "timestamp": datetime.now(UTC).isoformat()}
    text = json.dumps({**body, **stamp}, separators=(",", ":"))
    return {"sent": await manager.broadcast(text)}


@app.put("/upload")
async def upload(request: Request) -> dict[str, int]:
    """Write a body to disk as it comes."""
    with tempfile.TemporaryFile(dir=".") as file:
        async for chunk in request.stream():
            file.write(chunk)
        file.flush()
        return {"bytes": file.tell()}


def main() -> None:
    """Serve on a free port, and name it on stderr."""
    sockets = bind_sockets(0, "127.0.0.1", backlog=4096)
    print(
        f"listening on http://127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True
    )
    config = uvicorn.Config(app, log_level="warning")
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=sockets))


if __name__ == "__main__":
    main()
