"""Distributed traces: W3C trace context, and spans by OpenTelemetry where that is configured.

Independent of the rest of the server. The packages of OpenTelemetry are imported by ``otel`` alone.
"""
