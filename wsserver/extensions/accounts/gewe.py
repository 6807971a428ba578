"""GeWe (WeChat): its callbacks in both forms, and its requests. No I/O."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from typing import Any, Final

from msgspec.json import encode

from wsserver.extensions.accounts.incoming import (
    AccountStatus,
    MalformedReport,
    Nothing,
    Received,
    Report,
)

GROUP = "@chatroom"
RAW_TYPE = "application/vnd.gewe+json"
JSON_TYPE = "application/json"
XML_LIMIT = 64 * 1024
"""Characters of an ``appmsg`` that is parsed: in the worst case a few milliseconds of the loop."""
_SHORTEST_ID = 11
"""An id of ten digits is a time, and not unique."""
_LONGEST_ID = 128

_STATUSES: Final = {
    "offline": "offline",
    "logout": "offline",
    "long_disconnected": "offline",
    "reconnect_failed": "offline",
    "login_error": "login_failed",
    "login_success": "online",
    "long_connected": "online",
    "reconnect_success": "online",
    "reconnect_start": "reconnecting",
}
_MEDIA: Final = {
    "3": "image", "image": "image", "34": "voice", "voice": "voice", "43": "video",
    "video": "video", "47": "emoji", "emoji": "emoji", "42": "card", "card": "card",
    "48": "place", "location": "place",
}  # fmt: skip
_TEXT: Final = {"1", "text"}
_APP: Final = {"49", "app", "file", "quote", "link"}
_SYNC: Final = {"51", "sync"}


def read_callback(body: Any) -> Report:
    """What a callback reports; raises ``MalformedReport``."""
    if not isinstance(body, dict):
        raise MalformedReport("the body is not an object")
    if "testMsg" in body:
        return Nothing("a test of the callback's address")
    kind = _word(body.get("TypeName")) or _word(body.get("msgType"))
    if kind in _STATUSES:
        return AccountStatus(_STATUSES[kind])
    if "TypeName" in body:
        return _nested(body)
    if "msgType" in body:
        return _flat(body)
    raise MalformedReport("TypeName or msgType is missing")


def app_of(body: Any) -> str:
    """The id of the device that reports."""
    return _text(body.get("Appid") or body.get("appid")) if isinstance(body, dict) else ""


def _nested(body: dict[str, Any]) -> Report:
    """The form with ``TypeName`` and ``Data``."""
    if body["TypeName"] != "AddMsg":
        return Nothing(f"TypeName {_text(body['TypeName'])[:64]}")
    data = body.get("Data", body.get("data"))
    if not isinstance(data, dict):
        raise MalformedReport("Data is missing")
    sender, recipient = _string(data, "FromUserName"), _string(data, "ToUserName")
    is_own = bool(sender) and sender == _text(body.get("Wxid"))
    contact = recipient if is_own else sender
    content, speaker = _string(data, "Content"), sender
    if contact.endswith(GROUP) and not is_own and ":\n" in content:
        speaker, _, content = content.partition(":\n")
    return _message(
        body, _text(data.get("MsgType")), data.get("NewMsgId"), contact, speaker, content, is_own
    )


def _flat(body: dict[str, Any]) -> Report:
    """The form of v2, in which all is at the top."""
    sender, group = _text(body.get("fromUser")), _text(body.get("fromGroup"))
    is_own = body.get("isSelf") is True
    contact = group or (_text(body.get("toUser")) if is_own else sender)
    content = _text(body.get("content"))
    kind = _word(body.get("msgType"))
    return _message(body, kind, body.get("newMsgId"), contact, sender, content, is_own)


def _message(
    body: dict[str, Any],
    kind: str,
    number: Any,
    contact: str,
    speaker: str,
    content: str,
    is_own: bool,
) -> Report:
    if not contact or not speaker:
        raise MalformedReport("sender or recipient is missing")
    if kind in _SYNC:
        return Nothing("a synchronization of devices")
    provider_id = _text(number)
    if not _SHORTEST_ID <= len(provider_id) <= _LONGEST_ID:
        provider_id = "sha256-" + hashlib.sha256(encode(body)).hexdigest()
    received = Received(provider_id, contact, speaker, content, is_own=is_own)
    if kind in _TEXT:
        return received
    if kind in _MEDIA:
        found = {"type": _MEDIA[kind], "provider_id": provider_id, "xml": content}
        return received._replace(content=found, content_type=JSON_TYPE)
    if kind in _APP:
        return _app_message(received, body)
    return received._replace(content=body, content_type=RAW_TYPE)


def _app_message(received: Received, body: dict[str, Any]) -> Report:
    """A file, a quote, or anything else that an ``appmsg`` may be."""
    app = _app_in(received.content)
    kind = "" if app is None else (app.findtext("type") or "")
    if app is not None and kind == "74":
        return Nothing("a file that is still being uploaded")
    if app is not None and kind == "6":
        found = {
            "type": "file",
            "provider_id": received.provider_id,
            "name": app.findtext("title") or "",
            "xml": received.content,
        }
        return received._replace(content=found, content_type=JSON_TYPE)
    if app is not None and kind == "57":
        quoted = app.find("refermsg")
        about = {} if quoted is None else {each.tag: each.text or "" for each in quoted}
        found = {
            "type": "quote",
            "text": app.findtext("title") or "",
            "quoted": {
                "provider_id": about.get("svrid", ""),
                "name": about.get("displayname", ""),
                "text": about.get("content", ""),
            },
        }
        return received._replace(
            content=found, content_type=JSON_TYPE, quotes=about.get("svrid") or None
        )
    return received._replace(content=body, content_type=RAW_TYPE)


def _app_in(text: str) -> ET.Element | None:
    """The ``appmsg`` of a text; None: it is not XML, or has declarations, which are not read."""
    if len(text) > XML_LIMIT or "<!" in text.replace("<![CDATA[", ""):
        return None
    bare = re.sub(r"&(?!(?:[a-zA-Z]+|#[0-9]+|#x[0-9a-fA-F]+);)", "&amp;", text)
    try:
        root = ET.fromstring(bare.strip())  # noqa: S314 - without declarations: no entities
    except ET.ParseError:
        return None
    return root if root.tag == "appmsg" else root.find("appmsg")


def request_of(app_id: str, contact: str, content: Any) -> tuple[str, Any]:
    """Path and body of the request that sends a message to a contact.

    Objects with ``type`` ``image``, ``file`` or ``link`` and their addresses are sent as such;
    anything else as text.
    """
    body: dict[str, Any] = {"appId": app_id, "toWxid": contact}
    if isinstance(content, dict):
        kind, url = content.get("type"), content.get("url")
        if isinstance(url, str) and kind == "image":
            return "/message/postImage", {**body, "imgUrl": url}
        if isinstance(url, str) and kind == "file":
            name = _text(content.get("name")) or url.rpartition("/")[2]
            return "/message/postFile", {**body, "fileUrl": url, "fileName": name}
        if isinstance(url, str) and kind == "link":
            more = {
                "title": _text(content.get("title")),
                "desc": _text(content.get("description")),
                "thumbUrl": _text(content.get("thumbnail")),
            }
            return "/message/postLink", {**body, "linkUrl": url, **more}
    text = content if isinstance(content, str) else encode(content).decode()
    return "/message/postText", {**body, "content": text, "ats": ""}


class UnknownOutcome(Exception):
    """An answer that says neither that a message was sent nor that it was refused."""


def outcome_of(answer: Any) -> tuple[str | None, str]:
    """The messenger's id of a message that was sent, and ""; or None and why it was not.

    Raises ``UnknownOutcome``.
    """
    if not isinstance(answer, dict):
        raise UnknownOutcome("the answer is no JSON object")
    if not _text(answer.get("ret")):
        raise UnknownOutcome("the answer has no ret")
    data = answer.get("data")
    details = data if isinstance(data, dict) else {}
    if answer.get("ret") == 200:
        return _text(details.get("newMsgId")) or "unknown", ""
    reason = details.get("msg") or details.get("detail") or answer.get("msg")
    return None, f"ret {_text(answer.get('ret'))}: {_text(reason)}"


def _word(value: Any) -> str:
    return value.lower() if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _string(data: dict[str, Any], name: str) -> str:
    """A member that is ``{"string": …}``, or a text."""
    value = data.get(name)
    return _text(value.get("string")) if isinstance(value, dict) else _text(value)
