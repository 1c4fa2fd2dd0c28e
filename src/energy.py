"""Energy that a run took, as the counters of the machine tell it: RAPL for the processors, NVML for GPUs."""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
JOULES_PER_WH = 3600.0


@dataclass
class Counter:
    """A counter of joules that begins anew at `span`; `joules` are those since it was first read."""

    path: Path
    span: float
    last: float
    joules: float = 0.0

    def read(self) -> None:
        """Add what was used since the last reading; a counter may have begun anew once."""
        now = _microjoules(self.path)
        self.joules += (now - self.last + (self.span if now < self.last else 0.0)) / 1e6
        self.last = now


@dataclass
class Meter:
    """Energy of the whole machine since the meter was made, other programs included.

    Args:
        gpus: UUIDs of the GPUs that count.
        powercap: where the kernel shows its counters.
    """

    gpus: Sequence[str] = ()
    powercap: Path = POWERCAP
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the counters for the first time."""
        self._packages = self._find_packages()
        self._gpu_start = self._gpu_joules()

    def read(self) -> None:
        """Look at the counters of the processors, which begin anew after some ten minutes to an hour."""
        for counter in self._packages:
            counter.read()

    def miss(self, reason: str) -> None:
        """Tell no energy at the end, for this reason: a part of it was not seen."""
        self._packages, self._gpu_start = [], None
        self.reasons |= {"cpu_wh": reason, "gpu_wh": reason}

    def record(self) -> dict[str, Any]:
        """`cpu_wh` and `gpu_wh`, None where they cannot be read, and then the reason by the same name."""
        self.read()
        cpu = sum(counter.joules for counter in self._packages) / JOULES_PER_WH if self._packages else None
        now = self._gpu_joules() if self._gpu_start is not None else None
        gpu = None if now is None or self._gpu_start is None else (now - self._gpu_start) / JOULES_PER_WH
        return {"cpu_wh": _rounded(cpu), "gpu_wh": _rounded(gpu), "reasons": dict(self.reasons)}

    def _find_packages(self) -> list[Counter]:
        """The counters of all processor packages; none, with the reason, where one cannot be read."""
        zones = sorted(self.powercap.glob("intel-rapl:[0-9]*"))
        packages = [zone for zone in zones if zone.name.count(":") == 1]
        if not packages:
            self.reasons["cpu_wh"] = f"no RAPL counters in {self.powercap}"
            return []
        try:
            return [
                Counter(
                    zone / "energy_uj", _microjoules(zone / "max_energy_range_uj"), _microjoules(zone / "energy_uj")
                )
                for zone in packages
            ]
        except (OSError, ValueError) as error:
            self.reasons["cpu_wh"] = f"RAPL counters cannot be read: {getattr(error, 'strerror', None) or error}"
            return []

    def _gpu_joules(self) -> float | None:
        if not self.gpus:
            self.reasons["gpu_wh"] = "no GPU of NVIDIA was used"
            return None
        try:
            return sum(_nvml_joules(uuid) for uuid in self.gpus)
        except (OSError, AttributeError, ValueError) as error:
            self.reasons["gpu_wh"] = f"NVML does not tell: {error}"
            return None


def _microjoules(path: Path) -> float:
    return float(path.read_text(encoding="ascii"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _nvml_joules(uuid: str) -> float:
    """Joules that a GPU has taken since its driver was loaded.

    Raises:
        OSError: there is no NVML library.
        ValueError: NVML answers with an error, as for GPUs older than Volta.
    """
    library = ctypes.CDLL(NVML)
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()
    calls = (
        library.nvmlInit_v2,
        lambda: library.nvmlDeviceGetHandleByUUID(uuid.encode("ascii"), ctypes.byref(handle)),
        lambda: library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)),
    )
    for call in calls:
        if status := call():
            raise ValueError(f"error {status}")
    return millijoules.value / 1000
