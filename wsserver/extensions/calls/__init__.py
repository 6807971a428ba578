"""Calls: signalling of WebRTC between two members of a session."""
