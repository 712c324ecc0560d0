from __future__ import annotations

from vertex_deploy.local.data.gauges import Usage, cpu_share
from vertex_deploy.local.data.launcher import BoundedLog, log_tail


def test_a_log_keeps_itself_and_one_predecessor(tmp_path):
    log = BoundedLog(tmp_path / "a" / "replica.log", max_bytes=100)
    for number in range(100):
        log.write(f"line {number:03}\n".encode())
    log.close()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["replica.log", "replica.log.1"]
    assert sum(path.stat().st_size for path in (tmp_path / "a").iterdir()) <= 200
    assert log_tail(log.path, 1) == "line 099"


def test_the_tail_of_a_log_is_its_last_lines(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"\xff bad bytes\n" + b"".join(b"%d\n" % number for number in range(10_000)))
    assert log_tail(path, 2) == "9998\n9999"
    assert log_tail(tmp_path / "none") == ""


def test_the_cpu_share_is_of_all_cores_and_between_nothing_and_all():
    assert cpu_share(Usage(10, 0), Usage(13, 0), seconds=2, cores=2) == 0.75
    assert cpu_share(Usage(10, 0), Usage(9, 0), seconds=2, cores=2) == 0
    assert cpu_share(Usage(0, 0), Usage(90, 0), seconds=2, cores=2) == 1
    assert cpu_share(None, Usage(1, 0), seconds=2, cores=2) is None
