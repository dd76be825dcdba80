"""What a scrape tells of the process and its disk: version, memory, processor time, space left.

Invariant: nothing is kept between scrapes; what the platform does not tell is left out, not made up.
"""

import os
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
                "tapedeck_resident_bytes", "Memory that the process occupies.", value=_resident_bytes()
            )


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
