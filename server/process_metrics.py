"""What a scrape tells of the process and its disk: version, memory, processor time, space left.

Invariant: nothing is kept between scrapes; what the platform does not tell is left out, not made up.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessMetrics(Collector):
    """The process that asks, and the disk that holds the ledger."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "tapedeck_build_info", "Always 1; the label says which version runs.", labels=["version"]
        )
        build.add_metric([version("tapedeck")], 1)
        yield build
        yield CounterMetricFamily(
            "tapedeck_cpu_seconds", "Processor time that the process has used.", value=time.process_time()
        )
        disk = shutil.disk_usage(self._data_dir)
        yield GaugeMetricFamily(
            "tapedeck_disk_free_bytes", "Space that is left on the ledger's disk.", value=disk.free
        )
        yield GaugeMetricFamily("tapedeck_disk_bytes", "Size of the ledger's disk.", value=disk.total)
        if sys.platform == "linux":
            yield GaugeMetricFamily(
                "tapedeck_resident_bytes", "Memory that the process occupies.", value=memory_bytes("VmRSS")
            )
            yield GaugeMetricFamily(
                "tapedeck_private_bytes",
                "The part of it that is the process's own; the rest are files that the system may drop.",
                value=memory_bytes("RssAnon"),
            )


def memory_bytes(kind: str) -> int:
    """VmRSS or RssAnon of this process, as the kernel counts them; Linux alone has them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{kind}:"))) * 1024
