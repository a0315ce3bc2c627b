"""The parts that compute and write, without a server: `python3 -m unittest discover benches/tests`."""
import os
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from measuring import calls, charts, cpu, gates, goals, latency, pages, peers, report, stalls, workloads  # noqa: E402
from measuring.goals import AGAIN, BARE  # noqa: E402
from measuring.peers import OURS  # noqa: E402


def block(ours, **more):
    return {BARE: 2.0, AGAIN: 2.02, OURS: 2.0 * ours, "nginx": 2.6, "may_minihttp": 2.5, **more}


class Figures(unittest.TestCase):
    def test_the_interval_of_equal_values_is_that_value(self):
        self.assertEqual(report.interval([3.0] * 7), (3.0, 3.0, 3.0))

    def test_the_interval_contains_the_median_and_lies_within_the_values(self):
        values = [1.0, 1.1, 1.3, 0.9, 1.2, 1.05, 7.0]
        median, low, high = report.interval(values)
        self.assertEqual(median, 1.1)
        self.assertTrue(0.9 <= low < median < high <= 7.0)

    def test_a_ratio_is_of_blocks_that_have_both(self):
        blocks = [block(1.1), {BARE: 1.0, OURS: 1.1}, {BARE: 5.0}]
        self.assertAlmostEqual(report.ratios(blocks, OURS, BARE)[0], 1.1)

    def test_of_noisy_blocks_the_quieter_half_counts(self):
        self.assertEqual(cpu.quiet([("a", 0.3), ("b", 0.0), ("c", 0.2), ("d", 0.1)]), (["b", "d"], 0.1))
        self.assertEqual(cpu.quiet([("a", 0.3), ("b", 0.2), ("c", 0.5)]), (["b", "a"], 0.3))

    def test_a_goal_is_met_beyond_its_interval_only(self):
        goal = goals.Goal("plaintext", BARE, 1.06)
        for ratios, verdict in [([1.02, 1.03, 1.04], "met"), ([1.10, 1.12, 1.2], "missed"),
                                ([1.0, 1.05, 1.09], "the interval touches the goal")]:
            self.assertEqual(goals.judge(goal, [block(ratio) for ratio in ratios])[1], verdict)
        self.assertEqual(goals.judge(goals.Goal("plaintext", "nginx"), [block(1.1), block(1.2)])[1], "met")


class Requests(unittest.TestCase):
    def test_a_browsers_request_has_14_fields(self):
        lines = workloads.BY_KEY["browser"].request().decode().split("\r\n")
        self.assertEqual(lines[-2:], ["", ""])
        self.assertEqual(len(lines[1:-2]), 14)

    def test_a_post_has_its_content(self):
        head, _, body = workloads.BY_KEY["post10k"].request().partition(b"\r\n\r\n")
        self.assertIn(b"\r\nContent-Length: 10240", head)
        self.assertEqual(len(body), 10240)

    def test_the_bare_loop_knows_the_length_of_what_is_not_one_read(self):
        for workload in workloads.WORKLOADS:
            length = workload.bare("limit")[2]
            counted = workload.depth > 1 or workload.body > 0
            self.assertEqual(length, str(len(workload.request())) if counted else "0", workload.key)

    def test_every_peer_can_do_something_and_no_two_have_a_name(self):
        names = [peer.name for peer in peers.PEERS]
        self.assertEqual(len(set(names)), len(names))
        for peer in peers.PEERS:
            self.assertTrue(any(peer.does(workload.needs) for workload in workloads.WORKLOADS), peer.name)


TRACE = f"""\
10 epoll_wait(4, [{{EPOLLIN}}], 512, 1000) = 1
10 recvfrom(8, "GET {calls.FIRST} HTTP/1.1\\r\\n", 65536, 0) = 45
10 sendto(8, "HTTP/1.1 200 OK", 134, 0) = 134
10 epoll_wait(4, [{{EPOLLIN}}], 512, 1000) = 1
10 recvfrom(8, "GET {calls.PATH} HTTP/1.1\\r\\n", 65536, 0) = 45
10 sendto(8, "HTTP/1.1 200 OK", 134, 0) = 134
9 poll([{{fd=3}}], 1, 500 <unfinished ...>
10 epoll_wait(4,  <unfinished ...>
9 <... poll resumed>) = 0 (Timeout)
10 <... epoll_wait resumed>[{{EPOLLIN}}], 512, 1000) = 1
10 accept4(7, NULL, NULL, SOCK_CLOEXEC) = 9
10 fcntl(9, F_GETFD) = 0x1 (flags FD_CLOEXEC)
10 accept4(7, 0x7ffd, [128], SOCK_CLOEXEC) = -1 EAGAIN (Resource temporarily unavailable)
10 epoll_wait(4, [{{EPOLLIN}}], 512, 1000) = 1
10 recvfrom(8, "GET {calls.LAST} HTTP/1.1\\r\\n", 65536, 0) = 45
"""


class Machine(unittest.TestCase):
    def test_a_stall_is_where_a_server_was_ready_and_not_let_run(self):
        # Time, what the server computed, and for how long each worker was not let run.
        looks = [(number / 100, number / 1000, [0, 0]) for number in range(100)]
        looks[60:] = [(now, computed, [0, 0.3]) for now, computed, _ in looks[60:]]
        (begin, end), = stalls.stalls(looks)
        self.assertAlmostEqual(begin, 0.29)
        self.assertEqual(end, 0.6)
        self.assertTrue(stalls.overlaps([(begin, end)], 0.1, 0.3))
        self.assertTrue(stalls.overlaps([(begin, end)], 0.5, 0.7))
        self.assertFalse(stalls.overlaps([(begin, end)], 0.1, 0.2))
        self.assertFalse(stalls.overlaps([(begin, end)], 0.6, 0.7))
        # Its own threads had the processor meanwhile.
        busy = [(now, now, delays) for now, _, delays in looks]
        self.assertEqual(list(stalls.stalls(busy)), [])

    def test_a_stall_is_where_nobody_looked(self):
        looks = [(now, 0, [0]) for now in (0, 0.01, 0.03, 0.33, 0.34)]
        self.assertEqual(list(stalls.stalls(looks)), [(0.03, 0.33)])

    def test_a_server_that_sleeps_or_is_stopped_makes_no_stall(self):
        looks = [(number / 100, 0, [0.002 * number]) for number in range(100)]
        self.assertEqual(list(stalls.stalls(looks)), [])

    def test_who_looks_sees_what_this_process_computes(self):
        pid = os.getpid()
        before = stalls.used(pid)
        sum(range(1_000_000))
        self.assertGreater(stalls.used(pid), before)
        self.assertGreaterEqual(stalls.delay(pid), 0)


class Outputs(unittest.TestCase):
    def test_calls_are_counted_between_the_markers_where_they_begin_without_the_master(self):
        found = calls.between(TRACE.splitlines(), 9)
        self.assertEqual([call for call, _ in found],
                         ["recvfrom", "sendto", "epoll_wait", "accept4", "accept4", "epoll_wait"])
        self.assertEqual([call for call, starts in found if starts == "accept"], ["accept4"])
        self.assertEqual(calls.waits({"epoll_wait": 0.5, "read": 1}), 0.5)
        self.assertEqual(gates.words({"read": 1, "epoll_wait": 0.5}), "1.50 (read 1.00, epoll_wait 0.50)")

    def test_what_is_counted_is_the_thing_in_the_middle_without_what_comes_before_the_first(self):
        found = [("getpid", False), *[("read", True), ("write", False), ("epoll_wait", False)] * 3, ("read", True), *[("x", False)] * 9]
        self.assertEqual(calls.middle("a", found, 2), {"read": 0.5, "write": 0.5, "epoll_wait": 0.5})

    def test_the_clients_words_are_read(self):
        text = ("offered 500/s  achieved 499/s  errors 2  dials 9  max_backlog 3\n"
                "/plaintext n=990  p50=70us p75=80us p90=90us p99=2000us p99.9=3000us p99.99=3100us max=3200us\n"
                "/slow      n=10  p50=100070us p75=1us p90=1us p99=1us p99.9=1us p99.99=1us max=1us\n")
        found = latency.parse(text, ("/plaintext", "/slow"))
        self.assertEqual((found["achieved"], found["errors"]), (499, 2))
        self.assertEqual(found["/plaintext"], {"50": 70, "99": 2000, "99.9": 3000})
        self.assertEqual(found["/slow"]["50"], 100070)

    def test_a_table_has_a_line_for_each_row_and_a_cell_for_each_column(self):
        lines = report.table(["", "a", "b"], [["x", "1", "2"], ["long name", "3.25", "4"]]).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertEqual({line.count("|") for line in lines}, {4})
        self.assertEqual(len({len(line) for line in lines}), 1)


class Pages(unittest.TestCase):
    def setUp(self):
        each = [block(ratio, granian=50.0) for ratio in (1.05, 1.06, 1.04)]
        self.result = {
            "machine": {"cpu": "Z80", "cores": 2, "kernel": "6.1", "date": "today", "load": 0.1, "real_time": True}, "load_after": 0.2,
            "command_line": "benches/run", "seconds": 0.4, "cpu_pinned": 1, "missing": {"bjoern": "is not installed"},
            "versions": {OURS: "0.1.0", "nginx": "1.22"}, "answers": {OURS: (4, 121)}, "stolen": {"close": 0.2},
            "cpu": {workload.key: each for workload in workloads.WORKLOADS},
            "rps": {workload.key: dict.fromkeys(each[0], 1000.0) for workload in workloads.WORKLOADS},
            "calls": {OURS: {"keep": {"read": 1.0, "write": 1.0}}}, "instructions": {OURS: 2488.0},
            "latency": {OURS: {str(share): [{"rate": 10, "errors": 0, "/plaintext": {"50": 1, "99": 2, "99.9": 3}}] * 2
                               for share in workloads.SHARES}},
            "mixed": {OURS: {"achieved": 500, "errors": 0, "/plaintext": {"50": 100, "99": 2000}}},
            "idle": {OURS: {"before": 2 << 20, "bytes": 97.0, "beside": [1e-4]}},
            "failed": {"close": {"nginx": "it <broke>"}},
        }

    def test_every_chart_is_well_formed_and_has_its_rows(self):
        rows = [("ferricorn & <friends>", 1.05, 1.01, 1.2), ("gunicorn", 35.0, 33.0, 36.0)]
        tree = xml.fromstring(charts.dots("A & B", "<unit>", rows, {"gunicorn"}))
        self.assertEqual(len(tree.findall(".//{http://www.w3.org/2000/svg}circle")), 2)
        for x in tree.findall(".//{http://www.w3.org/2000/svg}circle"):
            self.assertTrue(0 < float(x.get("cx")) < charts.WIDTH)

    def test_the_page_says_figures_null_test_verdict_and_what_is_missing(self):
        text = pages.page(self.result)
        for words in ["| **ferricorn hello** ", "bare loop again (null test)", "1.05 [1.04, 1.06]", "| met |", " 2488 |",
                      "- bjoern is not installed", "- nginx in close: it <broke>", "took up to 20%", "real-time", "2.00 µs"]:
            self.assertIn(words, text)
        self.assertIn("The null test does not contain 1", text)

    def test_what_is_written_is_linked_and_well_formed(self):
        with tempfile.TemporaryDirectory() as directory:
            pages.write(self.result, directory)
            names = set(os.listdir(directory))
            self.assertEqual(names, {"results.md", "results.json", *(f"{key}.svg" for key in pages.MAIN)})
            with open(os.path.join(directory, "results.md")) as file:
                text = file.read()
            for key in pages.MAIN:
                self.assertIn(f"]({key}.svg)", text)
                xml.parse(os.path.join(directory, f"{key}.svg"))

    def test_a_run_of_one_workload_has_a_page(self):
        self.result.update(cpu={"json": self.result["cpu"]["json"]}, latency={}, mixed={}, idle={}, calls={}, failed={}, missing={})
        text = pages.page(self.result)
        self.assertNotIn("## Goals", text)
        self.assertNotIn("## Left out", text)


if __name__ == "__main__":
    unittest.main()
