"""Every workload with its sizes, and the figures that the report shows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scripts.benchmark import ai_service
from scripts.benchmark.answering import WATCHERS, answers, appends
from scripts.benchmark.callers import CONNECTIONS
from scripts.benchmark.integrations import CALLBACK_ENVIRONMENT, callbacks, responders
from scripts.benchmark.resuming import RESUMED, resume
from scripts.benchmark.stage import Stage
from scripts.benchmark.streaming import IDLE_FACTOR, event_streams
from scripts.benchmark.stress import CHURN_AT_ONCE, SLOW_READERS, churn, many, slow_readers
from scripts.benchmark.talking import conversations, flood, kept, mark_read
from scripts.benchmark.uploading import LARGE_TIMES, UPLOAD_ENVIRONMENT, uploads
from scripts.benchmark.workloads import WARM_UP_CONNECTIONS, Figures, Size, echo, fan_out, idle


@dataclass(frozen=True)
class Figure:
    """A row of the report."""

    key: str
    label: str
    form: str = "{:,.0f}"
    scale: float = 1.0
    is_main: bool = False
    """Shown as bars, too."""
    is_less_better: bool = False
    has_ratio: bool = False
    limit: float | None = None
    """A median above it is a fault, in a run of full size."""
    least: float | None = None
    """A median below it is one, too."""


@dataclass(frozen=True)
class Workload:
    """Something to be measured."""

    name: str
    about: str
    run: Callable[[Stage, Size], Awaitable[Figures]]
    full: Size
    quick: Size
    figures: tuple[Figure, ...]
    is_for_peers: bool = True
    """Are the other servers measured by it, too?"""
    extra_connections: int = 0
    """Those that the workload opens beside its size's."""
    at_once: int | None = None
    """How many of its size's connections are open at the same time, where not all are."""
    is_for_clusters: bool = False
    """Is it run on servers of several processes, and on PostgreSQL, too?"""
    companion: str | None = None
    """The module of a service that the server uses; see ``Stage.open``."""
    environment: dict[str, str] = field(default_factory=dict)
    quick_environment: dict[str, str] = field(default_factory=dict)


def _ms(key: str, label: str) -> Figure:
    return Figure(key, label, "{:,.1f}", is_less_better=True, has_ratio=True)


_PER_CPU = Figure("per_cpu_s", "for each second of its CPU", is_main=True, has_ratio=True)
_P50, _P99 = _ms("p50_ms", "p50, ms"), _ms("p99_ms", "p99, ms")
_OTHER_P99 = Figure("other_p99_ms", "p99 on the other node, ms", "{:,.1f}")
_PAYLOAD = Figure("payload_bytes", "bytes of a message on the wire", is_less_better=True)
_MISSING = Figure("missing", "deliveries missing")
_FAILED = Figure("failed", "connections failed")
_SHARES = (
    Figure("backends_cpu", "PostgreSQL's and Valkey's CPU, %", scale=100),
    Figure("client_cpu", "clients' CPU, % of theirs", scale=100),
    Figure("other_cpu", "other programs' CPU, % of a core", scale=100),
)
_SERVER_CPU = Figure(
    "server_cpu", "server's CPU, % of a core", "{:,.1f}", 100, is_less_better=True, has_ratio=True
)
_FAN_OUT = (
    Figure("per_s", "deliveries a second", has_ratio=True),
    _PER_CPU,
    _P50,
    _P99,
    _OTHER_P99,
    _PAYLOAD,
    _MISSING,
    _FAILED,
    *_SHARES,
)

_COMMANDS = (
    Figure("per_s", "answered a second"),
    Figure("per_cpu_s", "for each second of its CPU"),
    Figure("cpu_us", "server's CPU for each, µs", "{:,.1f}"),
    Figure("p50_ms", "p50, ms", "{:,.1f}"),
    Figure("p99_ms", "p99, ms", "{:,.1f}"),
    Figure("missing", "commands not answered"),
    *_SHARES,
)

WORKLOADS = (
    Workload(
        "W1a",
        "{connections:,} connections, {messages} broadcasts back to back",
        fan_out,
        Size(1000, messages=200),
        Size(200, messages=40),
        _FAN_OUT,
        is_for_clusters=True,
    ),
    Workload(
        "W1b",
        "{connections:,} connections, {messages} broadcasts back to back",
        fan_out,
        Size(5000, messages=40),
        Size(500, messages=20),
        _FAN_OUT,
    ),
    Workload(
        "W2",
        "{connections:,} connections, {rate:.0f} broadcasts a second, {messages} in all",
        fan_out,
        Size(1000, messages=100, rate=20),
        Size(200, messages=20, rate=20),
        (
            Figure("p50_ms", "p50, ms", "{:,.1f}", 1, True, True, True),
            _P99,
            _OTHER_P99,
            _SERVER_CPU,
            _PAYLOAD,
            _MISSING,
            _FAILED,
            *_SHARES,
        ),
        is_for_clusters=True,
    ),
    Workload(
        "W3",
        "{connections:,} connections, ping and pong without a pause, {seconds:.0f} s",
        echo,
        Size(100, seconds=3),
        Size(50, seconds=1),
        (
            Figure("per_s", "round trips a second", has_ratio=True),
            _PER_CPU,
            _P50,
            _P99,
            _FAILED,
            *_SHARES,
        ),
        is_for_clusters=True,
    ),
    Workload(
        "W4",
        "{connections:,} idle connections",
        idle,
        Size(5000),
        Size(500),
        (
            Figure("kb_each", "memory of each, KB", "{:,.2f}", 1, True, True, True),
            Figure("connects_per_s", "connects a second", has_ratio=True),
            Figure("connects_per_cpu_s", "for each second of its CPU", has_ratio=True),
            _FAILED,
            *_SHARES,
        ),
        extra_connections=WARM_UP_CONNECTIONS,
    ),
    Workload(
        "W5",
        "{connections:,} connections, {messages} broadcasts of {publishers} publishers at once",
        fan_out,
        Size(1000, messages=300, publishers=32),
        Size(200, messages=60, publishers=32),
        _FAN_OUT,
        is_for_clusters=True,
    ),
    Workload(
        "uploads",
        f"{LARGE_TIMES} files of {{megabytes}} MiB; then {{connections:,}} clients that ping,"
        " {seconds:.0f} s beside files of 20 MB",
        uploads,
        Size(100, seconds=10, megabytes=256),
        Size(20, seconds=1, megabytes=4),
        (
            Figure(
                "mb_per_s", "MB a second (0.5 x Tornado at least)", is_main=True, has_ratio=True
            ),
            Figure("mb_per_cpu_s", "for each second of its CPU", has_ratio=True),
            Figure("small", "files of 20 MB meanwhile"),
            Figure("p99_before_ms", "the clients' ping, p99 before, ms", "{:,.1f}"),
            Figure("p99_during_ms", "the clients' ping, p99 meanwhile, ms", "{:,.1f}"),
            Figure("p99_more_ms", "the difference, ms (5 at most)", "{:,.1f}", limit=5.0),
            Figure("lost", "connections lost"),
            _FAILED,
            *_SHARES,
        ),
        extra_connections=1,
        environment=UPLOAD_ENVIRONMENT,
    ),
    Workload(
        "slow",
        f"{{connections:,}} readers beside {SLOW_READERS} that stop, {{messages}} broadcasts of"
        " 32 KB, {rate:.0f} a second",
        slow_readers,
        Size(100, messages=300, rate=50),
        Size(50, messages=150, rate=50),
        (
            Figure("offered_mb", "MB offered to the slow ones"),
            Figure("grown_mb", "MB that the server grew by", "{:,.1f}"),
            Figure("cut_off", "slow ones closed with 4002"),
            Figure("not_cut_off", "slow ones not closed"),
            Figure("p99_before_ms", "the others' p99 before, ms", "{:,.1f}"),
            Figure("p99_during_ms", "the others' p99 meanwhile, ms", "{:,.1f}"),
            _MISSING,
            _FAILED,
            *_SHARES,
        ),
        is_for_peers=False,
        extra_connections=SLOW_READERS,
        quick_environment={"WSSERVER_QUEUE_LIMIT_BYTES": "262144"},
    ),
    Workload(
        "kept",
        "{connections:,} connections, {messages:,} messages that are kept; the same in batches",
        kept,
        Size(32, messages=20_000),
        Size(8, messages=2000),
        (
            Figure("per_s", "acknowledged a second"),
            Figure("per_cpu_s", "for each second of its CPU"),
            Figure("cpu_us", "server's CPU for each, µs", "{:,.1f}"),
            Figure("p50_ms", "p50 from sending to ack, ms", "{:,.1f}"),
            Figure("p99_ms", "p99 from sending to ack, ms", "{:,.1f}"),
            Figure("batched_per_s", "in batches, stored a second"),
            Figure("batched_per_cpu_s", "for each second of its CPU"),
            Figure("unstored", "messages not acknowledged"),
            _MISSING,
            *_SHARES,
        ),
        is_for_peers=False,
        is_for_clusters=True,
    ),
    Workload(
        "resume",
        "{messages:,} kept messages, {rate:.0f} a second, to a reader on each node;"
        f" then {{connections}} resumes of {RESUMED} on the last node",
        resume,
        Size(100, messages=2000, rate=200),
        Size(5, messages=100, rate=200),
        (
            Figure("own_p50_ms", "to the first node's reader, p50, ms", "{:,.1f}"),
            Figure("own_p99_ms", "p99, ms", "{:,.1f}"),
            Figure("other_p50_ms", "to the last node's reader, p50, ms", "{:,.1f}"),
            Figure("other_p99_ms", "p99, ms", "{:,.1f}"),
            Figure("cpu_us", "first node's CPU for each message, µs", "{:,.1f}"),
            Figure("other_cpu_us", "last node's CPU for each, µs", "{:,.1f}"),
            Figure("resume_p50_ms", "connect and resume, p50, ms", "{:,.1f}"),
            Figure("resume_p99_ms", "p99, ms", "{:,.1f}"),
            _MISSING,
            *_SHARES,
        ),
        is_for_peers=False,
        is_for_clusters=True,
    ),
    Workload(
        "appends",
        "{messages:,} appends to {connections} answers that nobody watches",
        appends,
        Size(16, messages=200_000),
        Size(4, messages=4000),
        (
            Figure("per_s", "answered a second"),
            Figure("per_cpu_s", "for each second of its CPU"),
            Figure("cpu_us", "server's CPU for each, µs", "{:,.1f}"),
            Figure("missing", "appends not answered"),
            *_SHARES,
        ),
        is_for_peers=False,
    ),
    Workload(
        "answers",
        f"{{connections}} answers at once, {{rate:.0f}} appends a second to each, {WATCHERS}"
        " watchers of each, {seconds:.0f} s",
        answers,
        Size(200, seconds=10, rate=20),
        Size(20, seconds=1, rate=20),
        (
            Figure("p50_ms", "from append to watcher, p50, ms", "{:,.1f}"),
            Figure("p99_ms", "p99, ms", "{:,.1f}"),
            Figure("server_cpu", "server's CPU, % of a core", "{:,.1f}", 100),
            _MISSING,
            *_SHARES,
        ),
        is_for_peers=False,
        extra_connections=200 * WATCHERS,
    ),
    Workload(
        "mark_read",
        "{connections:,} connections mark {messages:,} messages read",
        mark_read,
        Size(32, messages=20_000),
        Size(8, messages=800),
        _COMMANDS,
        is_for_peers=False,
        is_for_clusters=True,
    ),
    Workload(
        "conversations",
        "{connections:,} users with {sessions:,} conversations list 50 of them {messages:,} times",
        conversations,
        Size(4, messages=2000, sessions=2000),
        Size(4, messages=40, sessions=60),
        (
            Figure("alone_p50_ms", "one user alone, p50, ms", "{:,.1f}"),
            Figure("alone_p99_ms", "p99, ms (20 at most)", "{:,.1f}", limit=20.0),
            *_COMMANDS,
        ),
        is_for_peers=False,
        is_for_clusters=True,
    ),
    Workload(
        "flood",
        "{connections:,} clients that ping every 100 ms, {seconds:.0f} s beside one that floods",
        flood,
        Size(100, seconds=10),
        Size(20, seconds=1),
        (
            Figure("frames_per_s", "frames a second that the flood wrote"),
            Figure("cut_off", "times closed with 4029, and back"),
            Figure("other_endings", "times it ended otherwise"),
            Figure("p99_before_ms", "the others' ping, p99 before, ms", "{:,.1f}"),
            Figure("p99_during_ms", "the others' ping, p99 meanwhile, ms", "{:,.1f}"),
            Figure("p99_more_ms", "the difference, ms (10 at most)", "{:,.1f}", limit=10.0),
            Figure("pongs_before", "the others' pongs before"),
            Figure("pongs_during", "the others' pongs meanwhile"),
            Figure("lost", "connections lost"),
            _FAILED,
            Figure("server_cpu", "server's CPU, % of a core", "{:,.1f}", 100),
            _SHARES[1],
        ),
        is_for_peers=False,
        extra_connections=1,
        environment={"WSSERVER_MESSAGE_RATE": "40", "WSSERVER_MESSAGE_BURST": "80"},
    ),
    Workload(
        "callbacks",
        "{rate:.0f} callbacks a second of a messenger, {seconds:.0f} s, beside {connections:,}"
        " clients that ping",
        callbacks,
        Size(100, seconds=10, rate=500),
        Size(20, seconds=1, rate=100),
        (
            Figure("per_s", "answered a second"),
            Figure("cpu_us", "server's CPU for each, pings included, µs", "{:,.1f}"),
            Figure("p50_ms", "from callback to answer, p50, ms", "{:,.1f}"),
            Figure("p99_ms", "p99, ms (50 at most)", "{:,.1f}", limit=50.0),
            Figure("p99_before_ms", "the clients' ping, p99 before, ms", "{:,.1f}"),
            Figure("p99_during_ms", "the clients' ping, p99 meanwhile, ms", "{:,.1f}"),
            Figure("server_cpu", "server's CPU, % of a core", "{:,.1f}", 100),
            Figure("missing", "callbacks not answered with 200"),
            Figure("lost", "connections lost"),
            _FAILED,
            *_SHARES,
        ),
        is_for_peers=False,
        extra_connections=CONNECTIONS,
        environment=CALLBACK_ENVIRONMENT,
    ),
    Workload(
        "responders",
        "{connections} answers at once of an AI service, {rate:.0f} words a second each,"
        " {seconds:.0f} s; again beside {sessions} sessions of a dead one",
        responders,
        Size(ai_service.CONCURRENCY, seconds=10, rate=20, sessions=40),
        Size(10, seconds=1, rate=20, sessions=4),
        (
            Figure("p50_ms", "from service to watcher, p50, ms", "{:,.1f}"),
            Figure("p99_ms", "p99, ms", "{:,.1f}"),
            Figure("p99_beside_ms", "p99 beside the dead service, ms", "{:,.1f}"),
            Figure("p99_more_ms", "the difference, ms", "{:,.1f}"),
            Figure(
                "server_cpu", "server's CPU, % of a core (60 at most)", "{:,.1f}", 100, limit=0.6
            ),
            Figure("completed", "answers completed"),
            Figure("unanswered", "those of the dead service, unanswered"),
            Figure("missing", "words missing"),
            *_SHARES,
        ),
        is_for_peers=False,
        extra_connections=2 * ai_service.CONCURRENCY,
        companion=ai_service.MODULE,
        environment=ai_service.environment(),
    ),
    Workload(
        "sse",
        f"{{connections:,}} event streams, {{messages:,}} broadcasts, {IDLE_FACTOR} times"
        " as many idle ones; then as many WebSockets",
        event_streams,
        Size(1000, messages=1000),
        Size(100, messages=20),
        (
            Figure("per_s", "events a second"),
            Figure("per_cpu_s", "for each second of its CPU"),
            Figure("socket_per_cpu_s", "the same by WebSockets"),
            Figure("ratio", "events / messages (0.7 at least)", "{:,.2f}", least=0.7),
            Figure("p50_ms", "p50, ms", "{:,.1f}"),
            Figure("p99_ms", "p99, ms", "{:,.1f}"),
            Figure("socket_p99_ms", "p99 of WebSockets, ms", "{:,.1f}"),
            Figure("payload_bytes", "bytes of an event on the wire"),
            Figure("socket_payload_bytes", "bytes of a message of a WebSocket"),
            Figure("kb_each", "memory of an idle one, KB (4 at most)", "{:,.2f}", limit=4.0),
            Figure("connects_per_s", "streams opened a second"),
            _MISSING,
            _FAILED,
            *_SHARES,
        ),
        is_for_peers=False,
        extra_connections=IDLE_FACTOR * 1000,
    ),
    Workload(
        "churn",
        "{connections:,} times connect and leave",
        churn,
        Size(20_000),
        Size(1000),
        (
            Figure("cycles_per_s", "a second"),
            Figure("cycles_per_cpu_s", "for each second of its CPU"),
            Figure("descriptors_before", "descriptors before"),
            Figure("descriptors_after", "descriptors after"),
            Figure("threads_before", "threads before"),
            Figure("threads_after", "threads after"),
            Figure("tasks_before", "tasks before"),
            Figure("tasks_after", "tasks after"),
            Figure("rss_before_mb", "memory before, MB", "{:,.1f}"),
            Figure("rss_after_mb", "memory after, MB", "{:,.1f}"),
            Figure("failed", "cycles failed"),
            *_SHARES,
        ),
        is_for_peers=False,
        at_once=CHURN_AT_ONCE,
        environment={"WSSERVER_PLUGINS": "scripts.benchmark.task_counts:watch"},
    ),
    Workload(
        "many",
        "{connections:,} connections, {messages} broadcasts, {rate:.0f} a second",
        many,
        Size(19_500, messages=10, rate=1, seconds=30),
        Size(1000, messages=4, rate=2, seconds=3),
        (
            Figure("connected", "connected"),
            _FAILED,
            Figure("lost", "connections lost"),
            Figure("connects_per_s", "connects a second"),
            Figure("kb_each", "memory of each, KB", "{:,.2f}"),
            Figure("idle_cpu", "heartbeat and its answers, % of a core", "{:,.1f}", 100),
            Figure("p50_ms", "broadcast to all, p50, ms", "{:,.1f}"),
            Figure("p99_ms", "broadcast to all, p99, ms", "{:,.1f}"),
            Figure("max_ms", "broadcast to all, the last one, ms", "{:,.1f}"),
            _MISSING,
            Figure("bystander_alone_p99_ms", "a bystander's ping, p99, ms", "{:,.1f}"),
            Figure("bystander_p99_ms", "the same during broadcasts", "{:,.1f}"),
            Figure("bystander_max_ms", "the longest of them", "{:,.1f}"),
            Figure("pause_connecting_ms", "loop's longest pause, connecting, ms", "{:,.1f}"),
            Figure("pause_idle_ms", "the same with heartbeats alone", "{:,.1f}"),
            Figure("pause_broadcast_ms", "the same during broadcasts", "{:,.1f}"),
            Figure("collections", "garbage collections"),
            Figure("collection_ms", "the longest of them, ms", "{:,.1f}"),
        ),
        is_for_peers=False,
        extra_connections=1,
        environment={"WSSERVER_PLUGINS": "scripts.benchmark.pauses:watch"},
        quick_environment={"WSSERVER_HEARTBEAT_INTERVAL_S": "3"},
    ),
)
