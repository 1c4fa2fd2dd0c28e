import pytest

from src.energy import Meter

SPAN_UJ = 1_000_000_000


def counters(folder, *microjoules: int) -> None:
    """What the kernel shows of so many processor packages, and a part of the first one."""
    for number, value in enumerate(microjoules):
        zone = folder / f"intel-rapl:{number}"
        zone.mkdir(exist_ok=True)
        (zone / "energy_uj").write_text(f"{value}\n")
        (zone / "max_energy_range_uj").write_text(f"{SPAN_UJ}\n")
    part = folder / "intel-rapl:0:0"
    part.mkdir(exist_ok=True)
    (part / "energy_uj").write_text("999999999\n")


def test_energy_is_the_sum_of_the_packages_since_the_start(tmp_path):
    counters(tmp_path, 5_000_000, 0)
    meter = Meter(powercap=tmp_path)
    counters(tmp_path, 5_000_000 + 3_600_000_00, 1_800_000_00)
    assert meter.record()["cpu_wh"] == pytest.approx(0.15)


def test_a_counter_that_began_anew_between_two_readings_loses_nothing(tmp_path):
    counters(tmp_path, SPAN_UJ - 1_000_000)
    meter = Meter(powercap=tmp_path)
    for value in (71_000_000, 900_000_000, 72_000_000):
        counters(tmp_path, value)
        meter.read()
    joules = 72 + (900 - 71) + (1000 - 900 + 72)
    assert meter.record()["cpu_wh"] == pytest.approx(joules / 3600, abs=1e-4)


def test_where_there_are_no_counters_the_reason_says_so(tmp_path):
    found = Meter(powercap=tmp_path).record()
    assert (found["cpu_wh"], found["gpu_wh"]) == (None, None)
    assert found["reasons"]["cpu_wh"] == f"no RAPL counters in {tmp_path}"
    assert found["reasons"]["gpu_wh"] == "no GPU of NVIDIA was used"


def test_counters_that_cannot_be_read_are_a_reason_and_no_fault(tmp_path):
    counters(tmp_path, 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert "RAPL counters cannot be read" in Meter(powercap=tmp_path).record()["reasons"]["cpu_wh"]


def test_a_gpu_that_nvml_does_not_know_is_a_reason_and_no_fault(tmp_path):
    found = Meter(gpus=["GPU-00000000-0000-0000-0000-000000000000"], powercap=tmp_path).record()
    assert found["gpu_wh"] is None
    assert found["reasons"]["gpu_wh"].startswith("NVML does not tell:")


def test_a_run_whose_beginning_was_not_seen_tells_no_energy(tmp_path):
    counters(tmp_path, 1)
    meter = Meter(powercap=tmp_path)
    meter.miss("it was gone on with")
    assert meter.record() == {
        "cpu_wh": None,
        "gpu_wh": None,
        "reasons": {"cpu_wh": "it was gone on with", "gpu_wh": "it was gone on with"},
    }
