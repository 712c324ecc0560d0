from __future__ import annotations

import datetime as dt
import io

import pytest

from vertex_deploy.errors import UsageError
from vertex_deploy.spec import regions
from vertex_deploy.spec.machines import ACCELERATORS

LISTING = """\
nvidia-l4                us-central1-a
nvidia-l4                us-central1-b
nvidia-l4                https://www.googleapis.com/compute/v1/projects/p/zones/europe-west4-c
nvidia-rtx-pro-6000      us-south1-b
nvidia-tesla-t4-vws      us-central1-a
ct5lp                    us-central1-a

"""


def test_the_table_names_every_accelerator_of_a_spec_and_only_regions():
    table = regions.table()
    assert set(table["gpus"]) == set(ACCELERATORS) == set(regions.COMPUTE_TYPES)
    assert dt.date.fromisoformat(table["read"]) <= dt.datetime.now(tz=dt.UTC).date()
    assert "@" not in table["source"]
    for gpu, every in table["gpus"].items():
        assert every == sorted(set(every)), gpu
        assert all(region[-1].isdigit() for region in every), gpu


def test_a_listing_gives_regions_not_zones_and_skips_what_no_spec_has():
    found = regions.parse(LISTING.splitlines())
    assert found["L4"] == ["europe-west4", "us-central1"]
    assert found["RTX_PRO_6000"] == ["us-south1"]
    assert found["T4"] == []
    assert regions.by_region(found) == {
        "europe-west4": ["L4"],
        "us-central1": ["L4"],
        "us-south1": ["RTX_PRO_6000"],
    }


@pytest.mark.parametrize("text", ["ERROR: (gcloud) not logged in", "nvidia-l4 us-central1", "nvidia-l4"])
def test_what_is_no_listing_is_refused_by_its_line(text):
    with pytest.raises(UsageError, match="line 2 is not an accelerator type and a zone"):
        regions.parse(["nvidia-l4 us-central1-a", text])


def test_an_empty_listing_is_no_table():
    with pytest.raises(UsageError, match="gcloud compute accelerator-types list"):
        regions.parse([])


def test_the_file_is_written_as_the_command_writes_it():
    table = regions.table()
    day = dt.date.fromisoformat(table["read"])
    assert regions.rendered(table["gpus"], source=table["source"], read=day) == regions.FILE.read_text()


def test_a_bad_listing_leaves_the_file_alone(tmp_path, monkeypatch, capsys):
    file = tmp_path / "gpu_regions.json"
    file.write_text("as it was")
    monkeypatch.setattr(regions, "FILE", file)
    monkeypatch.setattr("sys.stdin", io.StringIO("nonsense\n"))
    assert regions.main() == 2
    assert file.read_text() == "as it was"
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr("sys.stdin", io.StringIO(LISTING))
    assert regions.main() == 0
    assert regions.table()["gpus"]["L4"] == ["europe-west4", "us-central1"]
